// What the list takes, and the events that it dispatches.
import type {
  Cancelled,
  Connected,
  Finished,
  FlowOptions,
  Integration,
  KomboEmbedError,
  WatchOptions,
} from "../index.js";

/** The options of the flows, and of `watch`. */
export interface IntegrationsOptions
  extends
    Omit<FlowOptions, "fresh" | "onPhase" | "signal">,
    Pick<WatchOptions, "intervalSeconds" | "intervalAfterFlowSeconds"> {}

/** The events of a `<kombo-integrations>`. */
export interface KomboIntegrationsEvents {
  "kombo-connected": CustomEvent<Connected>;
  "kombo-finished": CustomEvent<Finished>;
  "kombo-cancelled": CustomEvent<Cancelled>;
  "kombo-failed": CustomEvent<KomboEmbedError>;
  "kombo-disconnected": CustomEvent<{ readonly integration: Integration }>;
  "kombo-integrations": CustomEvent<{ readonly integrations: readonly Integration[] }>;
}
