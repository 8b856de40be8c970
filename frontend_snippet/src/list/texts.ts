// The texts of the list, in the languages of Kombo's page: `en`, `de`, `fr`, `it`, `es`. "{}" is the tool's name, or a
// number; the texts for one and for several are separated by "|".

const LANGUAGES = ["en", "de", "fr", "it", "es"];

const TEXTS = {
  title: [
    "Connected tools",
    "Verbundene Tools",
    "Outils connectés",
    "Strumenti collegati",
    "Herramientas conectadas",
  ],
  attention: [
    "{} needs attention|{} need attention",
    "{} braucht Ihre Hilfe|{} brauchen Ihre Hilfe",
    "{} requiert votre attention|{} requièrent votre attention",
    "{} richiede attenzione|{} richiedono attenzione",
    "{} requiere atención|{} requieren atención",
  ],
  search: ["Search", "Suchen", "Rechercher", "Cerca", "Buscar"],
  notFound: ["Nothing found.", "Nichts gefunden.", "Aucun résultat.", "Nessun risultato.", "Sin resultados."],
  loading: ["Loading…", "Wird geladen …", "Chargement…", "Caricamento…", "Cargando…"],
  empty: [
    "No tools connected yet.",
    "Noch keine Tools verbunden.",
    "Aucun outil connecté.",
    "Nessuno strumento collegato.",
    "Aún no hay herramientas conectadas.",
  ],
  stale: [
    "The list cannot be updated now.",
    "Die Liste lässt sich gerade nicht aktualisieren.",
    "La liste ne peut pas être mise à jour.",
    "L’elenco non può essere aggiornato.",
    "La lista no se puede actualizar.",
  ],
  offline: [
    "You are offline.",
    "Sie sind offline.",
    "Vous êtes hors ligne.",
    "Sei offline.",
    "Está sin conexión.",
  ],
  retry: ["Try again", "Erneut versuchen", "Réessayer", "Riprova", "Reintentar"],
  state_none: ["Connected", "Verbunden", "Connecté", "Collegato", "Conectado"],
  state_enable: ["Paused", "Pausiert", "En pause", "In pausa", "En pausa"],
  state_reconnect: ["Needs attention", "Gestört", "À reconnecter", "Da ricollegare", "Requiere atención"],
  state_finish_setup: [
    "Setup unfinished",
    "Einrichtung offen",
    "Configuration inachevée",
    "Configurazione incompleta",
    "Configuración incompleta",
  ],
  state_wait_for_sync: [
    "First sync",
    "Erster Abgleich",
    "Première synchronisation",
    "Prima sincronizzazione",
    "Primera sincronización",
  ],
  state_pending: ["Checking setup", "Wird geprüft", "Vérification", "Verifica in corso", "Comprobando"],
  advice_reconnect: [
    "It no longer accepts the credentials.",
    "Die Zugangsdaten werden nicht mehr akzeptiert.",
    "Les identifiants ne sont plus acceptés.",
    "Le credenziali non sono più accettate.",
    "Ya no acepta las credenciales.",
  ],
  advice_finish_setup: [
    "A few choices are left to make.",
    "Einige Angaben fehlen noch.",
    "Il reste quelques choix à faire.",
    "Restano alcune scelte da fare.",
    "Quedan algunas opciones por elegir.",
  ],
  advice_wait_for_sync: [
    "The first sync is running. It can take hours.",
    "Der erste Abgleich läuft. Er kann Stunden dauern.",
    "Elle est en cours et peut durer des heures.",
    "È in corso e può durare ore.",
    "Está en curso y puede tardar horas.",
  ],
  duplicate: [
    "Connected twice. Disconnect one?",
    "Doppelt verbunden. Eine trennen?",
    "Connecté deux fois. En déconnecter un ?",
    "Collegato due volte. Scollegarne uno?",
    "Conectado dos veces. ¿Desconectar uno?",
  ],
  finishSetup: [
    "Finish setup",
    "Einrichtung abschließen",
    "Terminer la configuration",
    "Completa la configurazione",
    "Terminar configuración",
  ],
  disconnect: ["Disconnect", "Trennen", "Déconnecter", "Scollega", "Desconectar"],
  details: ["Details", "Details", "Détails", "Dettagli", "Detalles"],
  more: [
    "More actions for {}",
    "Weitere Aktionen für {}",
    "Autres actions pour {}",
    "Altre azioni per {}",
    "Más acciones para {}",
  ],
  confirm: ["Disconnect {}?", "{} trennen?", "Déconnecter {} ?", "Scollegare {}?", "¿Desconectar {}?"],
  consequence: [
    "Its data is no longer updated. This cannot be undone.",
    "Die Daten werden nicht mehr aktualisiert. Das lässt sich nicht rückgängig machen.",
    "Ses données ne seront plus mises à jour. Cette action est irréversible.",
    "I dati non saranno più aggiornati. L’operazione è irreversibile.",
    "Sus datos dejarán de actualizarse. No se puede deshacer.",
  ],
  cancel: ["Cancel", "Abbrechen", "Annuler", "Annulla", "Cancelar"],
  disconnected: [
    "{} was disconnected.",
    "{} wurde getrennt.",
    "{} a été déconnecté.",
    "{} è stato scollegato.",
    "{} se ha desconectado.",
  ],
  organization: ["Organization", "Organisation", "Organisation", "Organizzazione", "Organización"],
  addedAt: ["Added", "Hinzugefügt", "Ajouté", "Aggiunto", "Añadido"],
  updatedAt: ["Last change", "Letzte Änderung", "Dernière modification", "Ultima modifica", "Último cambio"],
  reference: ["Reference", "Referenz", "Référence", "Riferimento", "Referencia"],
  category_HRIS: ["HR system", "HR-System", "SIRH", "Sistema HR", "Sistema de RR. HH."],
  category_ATS: ["Applicant tracking", "Bewerbungen", "Recrutement", "Selezione", "Selección"],
  category_ASSESSMENT: ["Assessments", "Assessments", "Évaluations", "Valutazioni", "Evaluaciones"],
  category_LMS: ["Learning", "Lernen", "Formation", "Formazione", "Formación"],
} as const satisfies Readonly<Record<string, readonly [string, string, string, string, string]>>;

/** The texts in one language. */
export type ListTexts = Readonly<Record<keyof typeof TEXTS, string>>;

/** Return the language that the texts and Kombo's page have, or undefined if they have none. */
export function knownLanguage(language: string): string | undefined {
  return LANGUAGES.find((known) => language.toLowerCase().startsWith(known));
}

/** Return the texts of a language; English if there are none. */
export function listTexts(language: string): ListTexts {
  const place = Math.max(0, LANGUAGES.indexOf(knownLanguage(language) ?? ""));
  return Object.fromEntries(
    Object.entries(TEXTS).map(([name, texts]) => [name, texts[place]]),
  ) as unknown as ListTexts;
}

/** Return the text of a value that Kombo may add to, or undefined for a value without one. */
export function textOf(
  texts: ListTexts,
  kind: "state" | "advice" | "category",
  value: string,
): string | undefined {
  return (texts as Readonly<Record<string, string>>)[`${kind}_${value}`];
}

/** Return a text with a name or a number in it. */
export function fill(text: string, value: string | number): string {
  const [one = "", several = one] = text.split("|");
  return (value === 1 ? one : several).replace("{}", () => String(value));
}
