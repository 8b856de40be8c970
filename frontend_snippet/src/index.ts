// The public names. Everything else is private.
export { connect, disconnect, finishSetup, reconnect } from "./connect.js";
export { finishPending } from "./completion.js";
export { KomboEmbedError } from "./errors.js";
export type { FieldError, OwnCode, ProblemCode } from "./errors.js";
export { listIntegrations, watch } from "./integrations.js";
export { prefetch } from "./prefetch.js";
export type { WatchDetails, WatchOptions } from "./integrations.js";
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
  IntegrationAction,
  NextAction,
  Phase,
  ShowKomboConnect,
} from "./types.js";
