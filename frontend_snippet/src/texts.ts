// The texts that this module shows itself, in the languages of Kombo's page.

/** The texts in one language. */
export interface Texts {
  readonly connect: string;
  readonly failed: string;
  readonly signIn: string;
  readonly close: string;
  readonly already: string;
  readonly reconnect: string;
}

const TEXTS: Readonly<Record<string, Texts>> & { readonly en: Texts } = {
  en: {
    connect: "Connect your HR tool",
    failed: "That did not work. Please try again.",
    signIn: "Please sign in.",
    close: "Close",
    already: "This tool is connected already.",
    reconnect: "Reconnect",
  },
  de: {
    connect: "HR-Tool verbinden",
    failed: "Das hat nicht geklappt. Bitte erneut versuchen.",
    signIn: "Bitte anmelden.",
    close: "Schließen",
    already: "Dieses Tool ist bereits verbunden.",
    reconnect: "Erneut verbinden",
  },
  fr: {
    connect: "Connecter un outil RH",
    failed: "Cela n’a pas fonctionné. Réessayez.",
    signIn: "Identifiez-vous.",
    close: "Fermer",
    already: "Cet outil est déjà connecté.",
    reconnect: "Reconnecter",
  },
  it: {
    connect: "Collega uno strumento HR",
    failed: "Non ha funzionato. Riprova.",
    signIn: "Accedi prima.",
    close: "Chiudi",
    already: "Questo strumento è già collegato.",
    reconnect: "Ricollega",
  },
  es: {
    connect: "Conectar una herramienta de RR. HH.",
    failed: "No ha funcionado. Inténtelo de nuevo.",
    signIn: "Inicie sesión.",
    close: "Cerrar",
    already: "Esta herramienta ya está conectada.",
    reconnect: "Volver a conectar",
  },
};

/** Return the texts of `language`, or of the page's own language; English if there are none. */
export function textsFor(language: string = document.documentElement.lang): Texts {
  return TEXTS[language.slice(0, 2).toLowerCase()] ?? TEXTS.en;
}
