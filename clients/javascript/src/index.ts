/**
 * The client of streamguard: chat answers that survive reloads and broken connections.
 *
 * @packageDocumentation
 */

export {
  AnswerFailedError,
  ConnectionLostError,
  type ErrorDetails,
  ProtocolError,
  RequestRefusedError,
  ResumeFailedError,
  StreamguardError,
} from "./errors.js";
export { EventSourceParser, type ServerSentEvent } from "./event-source-parser.js";
export { EventStream, openStream } from "./event-stream.js";
export { type Fault, type FaultCode, type Persisted, isQuotaFault } from "./faults.js";
export {
  type DataPart,
  type FaultPart,
  type MessagePart,
  type Part,
  type PersistedPart,
  faultOf,
  persistedOf,
} from "./parts.js";
export type { ReconnectOptions } from "./reconnection.js";
export type { ConnectionOptions, HeadersLike, Resolvable } from "./requests.js";
export {
  type AnswerStatus,
  type QuotaLimit,
  type SavedMessage,
  type SessionOptions,
  type SessionStatus,
  type StopResult,
  savedMessages,
  sessionStatus,
  stopAnswer,
} from "./sessions.js";
export type {
  OpenStreamOptions,
  Question,
  Reconnecting,
  StreamCallbacks,
  StreamEvent,
  StreamNames,
  StreamOutcome,
} from "./stream-options.js";
export {
  type ChatMessage,
  type PreparedRequest,
  StreamguardTransport,
  type StreamguardTransportOptions,
} from "./transport.js";
