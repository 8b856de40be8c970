// The attributes and events of the elements, for the JSX types of frameworks.
import type { KomboConnectButton, KomboConnectEvents } from "./element-class.js";
import type {
  IntegrationsOptions,
  KomboIntegrations,
  KomboIntegrationsEvents,
} from "./integrations-class.js";
import type { ConnectOptions } from "./types.js";

/** Listeners of events, as React 19 and Preact name them. */
type Listeners<Events> = {
  readonly [Name in keyof Events & string as `on${Name}`]?: (event: Events[Name]) => void;
};

/** The elements, and what they take beside the attributes of every element. */
export interface KomboElements {
  "kombo-connect-button": {
    readonly element: KomboConnectButton;
    readonly attributes: Listeners<KomboConnectEvents> & {
      readonly endpoint?: string;
      readonly tool?: string;
      readonly category?: string;
      readonly language?: string;
      readonly label?: string;
      readonly prefetch?: "intent";
      readonly disabled?: boolean;
      readonly options?: ConnectOptions;
      readonly class?: string;
    };
  };
  "kombo-integrations": {
    readonly element: KomboIntegrations;
    readonly attributes: Listeners<KomboIntegrationsEvents> & {
      readonly endpoint?: string;
      readonly language?: string;
      readonly options?: IntegrationsOptions;
      readonly class?: string;
    };
  };
}
