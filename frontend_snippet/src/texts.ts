// The texts that this module shows itself, in the languages of Kombo's page.
import type { Integration } from "./types.js";

/** The texts in one language. */
export interface Texts {
  readonly connect: string;
  readonly failed: string;
  readonly support: string;
  readonly signIn: string;
  readonly close: string;
  readonly already: (tool: string) => string;
  readonly connected: (tool: string) => string;
  readonly reconnect: string;
}

const TEXTS: Readonly<Record<string, Texts>> & { readonly en: Texts } = {
  en: {
    connect: "Connect your HR tool",
    failed: "That did not work. Please try again.",
    support: "This does not work at the moment. Please contact support.",
    signIn: "Please sign in.",
    close: "Close",
    already: (tool) => `${tool} is connected already.`,
    connected: (tool) => `${tool} is connected`,
    reconnect: "Reconnect",
  },
  de: {
    connect: "HR-Tool verbinden",
    failed: "Das hat nicht geklappt. Bitte erneut versuchen.",
    support: "Das geht gerade nicht. Bitte den Support kontaktieren.",
    signIn: "Bitte anmelden.",
    close: "Schließen",
    already: (tool) => `${tool} ist bereits verbunden.`,
    connected: (tool) => `${tool} ist verbunden`,
    reconnect: "Erneut verbinden",
  },
  fr: {
    connect: "Connecter un outil RH",
    failed: "Cela n’a pas fonctionné. Réessayez.",
    support: "Cela ne fonctionne pas pour le moment. Contactez le support.",
    signIn: "Identifiez-vous.",
    close: "Fermer",
    already: (tool) => `${tool} est déjà connecté.`,
    connected: (tool) => `${tool} est connecté`,
    reconnect: "Reconnecter",
  },
  it: {
    connect: "Collega uno strumento HR",
    failed: "Non ha funzionato. Riprova.",
    support: "Al momento non funziona. Contatta l’assistenza.",
    signIn: "Accedi prima.",
    close: "Chiudi",
    already: (tool) => `${tool} è già collegato.`,
    connected: (tool) => `${tool} è collegato`,
    reconnect: "Ricollega",
  },
  es: {
    connect: "Conectar una herramienta de RR. HH.",
    failed: "No ha funcionado. Inténtelo de nuevo.",
    support: "No funciona por el momento. Contacte con el soporte.",
    signIn: "Inicie sesión.",
    close: "Cerrar",
    already: (tool) => `${tool} ya está conectado.`,
    connected: (tool) => `${tool} está conectado`,
    reconnect: "Volver a conectar",
  },
};

/** Return the texts of `language`, or of the page's own language; English if there are none. */
export function textsFor(language: string = document.documentElement.lang): Texts {
  return TEXTS[language.slice(0, 2).toLowerCase()] ?? TEXTS.en;
}

/** What is known of a failure. */
interface Failure {
  readonly code: string;
  readonly detail: string;
  readonly status?: number | undefined;
  readonly integration?: Integration | undefined;
}

const TRY_AGAIN = /network|abort|already_open|slow|activation|dialog_failed|timeout|unavail|rate_/;
// The host explains in its own words what it refuses.
const BY_HOST = /forbidden|refused/;

/** Return what a failure says to the end user, in the language of `texts`: what to do, not what went wrong. */
export function explain({ code, detail, status, integration }: Failure, texts: Texts = textsFor()): string {
  if (status === 401) return texts.signIn;
  if (integration) return texts.already(toolName(integration));
  if (BY_HOST.test(code)) return detail;
  return TRY_AGAIN.test(code) ? texts.failed : texts.support;
}

/** Return the name of an integration's tool, as people write it. */
export function toolName({ tool, tool_label: label }: Integration): string {
  return label || tool.charAt(0).toUpperCase() + tool.slice(1);
}
