// The front door: these names are the promise, everything else is private.
export { connect, finishSetup, reconnect } from "./connect.js";
export { finishPending } from "./completion.js";
export { KomboEmbedError } from "./errors.js";
export type { FieldError, OwnCode, ProblemCode } from "./errors.js";
export { listIntegrations } from "./integrations.js";
export { watch } from "./watch.js";
export type { WatchOptions } from "./watch.js";
export type {
  AlreadyConnected,
  BackendOptions,
  Cancelled,
  Category,
  Clock,
  Connected,
  ConnectOptions,
  ConnectResult,
  Fetch,
  Finished,
  FlowOptions,
  FlowResult,
  HeadersSource,
  Integration,
  NextAction,
  Phase,
  ShowKomboConnect,
} from "./types.js";
