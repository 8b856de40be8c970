// The element <kombo-integrations>. Importing this module defines it.
import { define } from "./html.js";
import { KomboIntegrations, NAME } from "./integrations-class.js";

export { KomboIntegrations };
export type { IntegrationsOptions, KomboIntegrationsEvents } from "./integrations-class.js";

define(NAME, KomboIntegrations);
