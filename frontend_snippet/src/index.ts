// The public names. Everything else is private.
export { connect, finishSetup, reconnect } from "./connect.js";
export { finishPending } from "./completion.js";
export { KomboEmbedError } from "./errors.js";
export type { FieldError, OwnCode, ProblemCode } from "./errors.js";
export { listIntegrations, watch } from "./integrations.js";
export type { WatchOptions } from "./integrations.js";
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
