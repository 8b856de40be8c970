// The element <kombo-connect-button>. Importing this module defines it.
import { KomboConnectButton, NAME } from "./element-class.js";
import { define } from "./html.js";

export { KomboConnectButton };
export type { KomboConnectEvents } from "./element-class.js";

define(NAME, KomboConnectButton);
