// Made from clients/javascript by npm run bundle.

// dist/errors.js
var StreamguardError = class extends Error {
  name = "StreamguardError";
  /** A {@link Fault}'s code, `http_<status>` for an error of something else, or a code of this package. */
  code;
  /** The HTTP status, if a response was refused. */
  status;
  /** Whether the same request may succeed later. */
  retryable;
  sessionId;
  streamId;
  /** How long the server asks to wait. */
  retryAfterSeconds;
  /** What the server said, or null if it said nothing. */
  fault;
  constructor(code, message, details = {}) {
    super(message, details.cause === void 0 ? void 0 : { cause: details.cause });
    this.code = code;
    this.status = details.status;
    this.retryable = details.retryable ?? details.fault?.retryable ?? false;
    this.sessionId = details.sessionId ?? details.fault?.session_id;
    this.streamId = details.streamId ?? details.fault?.stream_id;
    this.retryAfterSeconds = details.retryAfterSeconds ?? details.fault?.retry_after_seconds;
    this.fault = details.fault ?? null;
  }
};
var RequestRefusedError = class extends StreamguardError {
  name = "RequestRefusedError";
};
var ResumeFailedError = class extends RequestRefusedError {
  name = "ResumeFailedError";
};
var AnswerFailedError = class extends StreamguardError {
  name = "AnswerFailedError";
};
var ConnectionLostError = class extends StreamguardError {
  name = "ConnectionLostError";
  /** How many attempts failed in a row. */
  attempts;
  constructor(attempts, details) {
    super("connection_lost", "The connection was lost.", { retryable: true, ...details });
    this.attempts = attempts;
  }
};
var ProtocolError = class extends StreamguardError {
  name = "ProtocolError";
  constructor(message, details = {}) {
    super("protocol_error", message, details);
  }
};

// dist/event-source-parser.js
var MAX_EVENT_LENGTH = 16777216;
var EventSourceParser = class {
  /** The last valid `retry:` in milliseconds, or null. */
  retryMs = null;
  #decoder = new TextDecoder();
  // strips one byte order mark, and keeps split characters together
  #rest = "";
  #skipLineFeed = false;
  #data = [];
  #dataLength = 0;
  #event = "";
  #id = null;
  #onComment;
  /** @param onComment is called with the text of each comment line */
  constructor(onComment) {
    this.#onComment = onComment;
  }
  /**
   * The events that end within these bytes. A last block without its blank line is never given.
   *
   * @throws {ProtocolError} an event is longer than 16 Mi characters. The parser cannot be used afterwards.
   */
  push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    const events = [];
    if (text === "")
      return events;
    if (this.#skipLineFeed && text.startsWith("\n"))
      text = text.slice(1);
    this.#skipLineFeed = false;
    const lineEnd = /\r\n|\r|\n/g;
    let start = 0;
    for (let match = lineEnd.exec(text); match !== null; match = lineEnd.exec(text)) {
      const line = this.#rest + text.slice(start, match.index);
      this.#rest = "";
      this.#readLine(line, events);
      start = lineEnd.lastIndex;
      this.#skipLineFeed = match[0] === "\r" && start === text.length;
    }
    this.#rest += text.slice(start);
    if (this.#rest.length + this.#dataLength > MAX_EVENT_LENGTH)
      throw new ProtocolError("An event of the stream is too long.");
    return events;
  }
  #readLine(line, events) {
    if (line === "") {
      if (this.#data.length > 0) {
        events.push({ id: this.#id, event: this.#event || "message", data: this.#data.join("\n") });
      }
      this.#data = [];
      this.#dataLength = 0;
      this.#event = "";
      this.#id = null;
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) {
      this.#onComment?.(line.slice(line.startsWith(": ") ? 2 : 1));
      return;
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" "))
      value = value.slice(1);
    if (field === "data") {
      this.#data.push(value);
      this.#dataLength += value.length + 1;
    }
    if (field === "event")
      this.#event = value;
    else if (field === "id" && !value.includes("\0"))
      this.#id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value))
      this.retryMs = Number(value);
  }
};

// dist/faults.js
function isQuotaFault(fault) {
  return fault.phase === "quota" || fault.code.startsWith("quota_");
}
function isOfConnection({ code, phase = "resume", severity = "fatal" }) {
  return (code === "resume_failed" || code === "store_unavailable") && phase === "resume" && severity === "fatal";
}
function faultInBody(text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    return null;
  }
  const error = body?.error;
  return error?.type === "streamguard_error" && typeof error.code === "string" ? error : null;
}

// dist/callbacks.js
var Callbacks = class {
  #callbacks;
  #names;
  #told;
  /** @param told ids of the faults that were told of before; it is shared by the streams of one answer */
  constructor(callbacks, names, told) {
    this.#callbacks = callbacks;
    this.#names = names;
    this.#told = told;
  }
  fault(fault) {
    if (this.#told.has(fault.fault_id))
      return;
    this.#told.add(fault.fault_id);
    call(this.#callbacks.onFault, fault, this.#names());
    if (isQuotaFault(fault))
      call(this.#callbacks.onQuota, fault, this.#names());
  }
  persisted(saved) {
    call(this.#callbacks.onPersisted, saved, this.#names());
  }
  reconnecting(reconnecting) {
    const { sessionId, streamId } = this.#names();
    call(this.#callbacks.onReconnect, { ...reconnecting, sessionId, streamId });
  }
  reconnected() {
    call(this.#callbacks.onReconnected, this.#names());
  }
};
function call(callback, ...given2) {
  try {
    callback?.(...given2);
  } catch (error) {
    console.error("A callback of streamguard-client threw:", error);
  }
}

// dist/parts.js
function faultOf(part2) {
  return part2.type === "data-streamguard-error" ? part2.data ?? null : null;
}
function persistedOf(part2) {
  return part2.type === "data-streamguard-persisted" ? part2.data : null;
}

// dist/protocols.js
function partReaderOf(protocol) {
  if (protocol === "ui-message")
    return new UiMessageReader();
  return protocol === "plain" ? new PlainReader() : new EventsReader();
}
var Reader = class {
  ended = false;
  over = false;
  upstreamError = null;
  outcome = null;
  failure = null;
  /** The fatal fault that the last comment told of. The event after it says less of it. */
  lastFault = null;
  readComment(text) {
    if (!text.startsWith("streamguard {"))
      return "keep-alive";
    const fault = json(text.slice("streamguard ".length));
    if (typeof fault?.code !== "string")
      return null;
    if (fault.severity !== "fatal")
      return fault;
    this.lastFault = fault;
    return null;
  }
  /** What the terminal record of a `plain` endpoint says. */
  end(data) {
    this.ended = this.over = true;
    const { outcome, fault } = json(data) ?? {};
    if (outcome !== "completed" && outcome !== "stopped") {
      this.failure = { message: fault?.message ?? `The answer was ${outcome ?? "interrupted"}.`, fault: fault ?? null };
      return null;
    }
    this.outcome = outcome;
    return outcome === "stopped" ? { type: "abort" } : { type: "finish" };
  }
};
var UiMessageReader = class extends Reader {
  mayLackEndMark = false;
  read({ data }) {
    if (data === "[DONE]") {
      this.ended = this.over = true;
      return null;
    }
    const part2 = json(data);
    if (typeof part2 !== "object" || part2 === null || typeof part2.type !== "string") {
      throw new ProtocolError("An event of the answer is no part of a UI message stream.");
    }
    if (part2.type === "error") {
      this.failure = { message: String(part2.errorText ?? "The answer failed."), fault: ours(part2.error) };
      return null;
    }
    if (part2.type === "abort")
      this.outcome = "stopped";
    else if (part2.type === "finish")
      this.outcome ??= "completed";
    return part2;
  }
};
var PlainReader = class extends Reader {
  mayLackEndMark = false;
  read({ event, data }) {
    if (event === "streamguard.notice" || event === "streamguard.error")
      return faultPart(data);
    return event === "streamguard.end" ? this.end(data) : { type: "text-delta", id: "t0", delta: data };
  }
};
var LAST_EVENTS = /* @__PURE__ */ new Set(["message_stop", "response.completed", "response.incomplete", "response.failed"]);
var EventsReader = class extends Reader {
  mayLackEndMark = true;
  #onlyJson = true;
  read({ event, data }) {
    if (event === "streamguard.notice" || event === "streamguard.error")
      return faultPart(data);
    if (event === "streamguard.end")
      return this.end(data);
    if (data.trim() === "[DONE]" && event === "message" && this.#onlyJson) {
      this.ended = true;
      this.outcome ??= "completed";
      return null;
    }
    this.#onlyJson &&= data.startsWith("{");
    const value = json(data);
    if (event === "error" || data.startsWith('{"error"'))
      this.#failed(value ?? {});
    if (LAST_EVENTS.has(event)) {
      this.ended = true;
      if (event === "response.failed")
        this.upstreamError ??= "The model's answer failed.";
    }
    return { type: "message", event, data: value === void 0 ? data : value };
  }
  #failed({ error, errorText, message }) {
    const sent = ours(error);
    if (sent !== null) {
      const fault = this.lastFault?.code === sent.code ? this.lastFault : sent;
      this.failure = { message: String(errorText ?? fault.message), fault };
    } else {
      this.upstreamError = String(error?.message ?? message ?? "The model's answer failed.");
    }
  }
};
function faultPart(data) {
  const fault = json(data);
  if (typeof fault?.code !== "string")
    throw new ProtocolError("A fault in the answer cannot be read.");
  return { type: "data-streamguard-error", id: fault.fault_id, data: fault, transient: true };
}
function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return void 0;
  }
}
function ours(error) {
  return error?.type === "streamguard_error" ? error : null;
}

// dist/answer-progress.js
var CURSOR = /^\d+\.[^.]+\.\d+\.\d+$/;
var AnswerProgress = class {
  sessionId;
  streamId;
  messageId = null;
  /** The id of the last event that has one. */
  cursor;
  /** How many events were read. */
  delivered = 0;
  /** Null until a response came. */
  reader = null;
  callbacks;
  #protocol;
  /** How many events came after the one that `cursor` names: those with ids of an upstream's own. */
  #behind = 0;
  /** The server has said that the answer is not in the log. */
  #notResumable = false;
  #fatal = null;
  /** @param told ids of the faults that were told of before */
  constructor(options, told, streamId) {
    this.streamId = streamId;
    this.sessionId = options.sessionId;
    this.cursor = options.cursor ?? null;
    this.#protocol = options.protocol ?? "auto";
    this.callbacks = new Callbacks(options, () => this.names, told);
  }
  get names() {
    return { sessionId: this.sessionId, streamId: this.streamId, messageId: this.messageId };
  }
  /** How many events a response repeats that begins now: without a cursor all, else those after the cursor's. */
  get repeated() {
    return this.cursor === null ? this.delivered : this.#behind;
  }
  /** Whether a further response could go on after what was read. */
  get isResumable() {
    return !this.#notResumable && this.cursor !== null;
  }
  /** Whether what follows is lost with its connection. */
  get isLostWithConnection() {
    return this.#notResumable && this.cursor === null && this.delivered > 0;
  }
  /**
   * A response of status 200 has come.
   *
   * @throws {ProtocolError} it is no event stream
   * @throws {ResumeFailedError} it is another answer's
   */
  begin(response) {
    const type = response.headers.get("content-type") ?? "";
    if (!type.toLowerCase().startsWith("text/event-stream") || response.body === null) {
      const details = { status: response.status, sessionId: this.sessionId };
      throw new ProtocolError(`The response is no event stream, but ${type || "without a content type"}.`, details);
    }
    const streamId = response.headers.get("x-stream-id");
    if (this.streamId !== null && streamId !== null && streamId !== this.streamId && this.delivered > 0) {
      throw this.lost("resume_failed", "Another answer has taken the place of this one.", void 0);
    }
    this.streamId = streamId ?? this.streamId;
    this.messageId = response.headers.get("x-message-id") ?? this.messageId;
    const isUiMessage = response.headers.has("x-vercel-ai-ui-message-stream");
    this.reader ??= partReaderOf(isUiMessage ? "ui-message" : this.#protocol);
    this.#notResumable = response.headers.get("x-streamguard-notice") === "not_resumable";
  }
  /**
   * The event of a message. Null: it was seen before, or only tells of the end. An error: the connection fails, though not
   * the answer.
   *
   * @throws {AnswerFailedError} the answer ends with it
   * @throws {ResumeFailedError} the server cannot read on in the log, for good
   */
  accept(message) {
    const reader = this.reader;
    const id = message.id !== null && CURSOR.test(message.id) ? message.id : null;
    if (id !== null && id === this.cursor)
      return null;
    const part2 = reader.read(message);
    const fault = reader.failure?.fault ?? (part2 === null ? null : faultOf(part2));
    if (fault !== null && id === null && isOfConnection(fault)) {
      reader.failure = null;
      return this.#connectionFailed(fault);
    }
    if (id !== null)
      this.cursor = id;
    if (message.id !== null)
      this.#behind = id === null ? this.#behind + 1 : 0;
    this.delivered += 1;
    if (reader.failure !== null)
      throw this.failed(reader.failure.message, fault ?? this.#fatal);
    if (part2 === null)
      return null;
    if (fault !== null) {
      if (fault.code === "not_resumable")
        this.#notResumable = true;
      if (fault.severity === "fatal")
        this.#fatal = fault;
      this.callbacks.fault(fault);
    }
    const saved = persistedOf(part2);
    if (saved !== null)
      this.callbacks.persisted(saved);
    return { id, type: part2.type, part: part2 };
  }
  /** Reads a comment. Gives whether it is a keep-alive. */
  readComment(text) {
    const notice = this.reader.readComment(text);
    if (notice !== null && notice !== "keep-alive")
      this.callbacks.fault(notice);
    return notice === "keep-alive";
  }
  failed(message, fault) {
    if (fault !== null)
      this.callbacks.fault(fault);
    const names = { sessionId: this.sessionId, streamId: this.streamId ?? void 0 };
    return new AnswerFailedError(fault?.code ?? "answer_failed", message, { fault, retryable: fault?.retryable ?? false, ...names });
  }
  lost(code, message, cause) {
    return new ResumeFailedError(code, message, { sessionId: this.sessionId, streamId: this.streamId ?? void 0, cause });
  }
  /** The refusal, once its fault was told. */
  told(refused) {
    if (refused.fault !== null)
      this.callbacks.fault(refused.fault);
    return refused;
  }
  #connectionFailed(fault) {
    const { sessionId, streamId } = this;
    const details = { status: fault.status, sessionId, streamId: streamId ?? void 0, fault };
    if (fault.code === "resume_failed")
      throw this.told(new ResumeFailedError(fault.code, fault.message, details));
    return new RequestRefusedError(fault.code, fault.message, { ...details, retryable: true });
  }
};

// dist/page-events.js
function whenBack(listener) {
  const page = typeof document === "undefined" ? void 0 : document;
  const scope = typeof window === "undefined" ? void 0 : window;
  const shown2 = () => void (page?.visibilityState === "visible" && listener());
  page?.addEventListener?.("visibilitychange", shown2);
  scope?.addEventListener?.("pageshow", listener);
  scope?.addEventListener?.("online", listener);
  return () => {
    page?.removeEventListener?.("visibilitychange", shown2);
    scope?.removeEventListener?.("pageshow", listener);
    scope?.removeEventListener?.("online", listener);
  };
}
function whenHidden(listener) {
  const page = typeof document === "undefined" ? void 0 : document;
  const hidden = () => void (isHidden() && listener());
  page?.addEventListener?.("visibilitychange", hidden);
  return () => page?.removeEventListener?.("visibilitychange", hidden);
}
function isHidden() {
  return typeof document !== "undefined" && document.visibilityState === "hidden";
}
function shown(signal) {
  return new Promise((resolve) => {
    const done = () => {
      if (isHidden() && !signal.aborted)
        return;
      forget();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const forget = whenBack(done);
    signal.addEventListener("abort", done);
    done();
  });
}

// dist/reconnection.js
var MAX_TIMER_MS = 2 ** 31 - 1;
function boundsOf(options = {}) {
  const { maxAttempts = 8, initialDelayMs = 300, maxDelayMs = 1e4, maxRetryAfterMs = 6e4 } = options;
  const { idleTimeoutMs = 45e3, maxHiddenConnections = 3 } = options;
  const bounds = { maxAttempts, initialDelayMs, maxDelayMs, maxRetryAfterMs, idleTimeoutMs, maxHiddenConnections };
  for (const [name, value] of Object.entries(bounds)) {
    if (!(value >= 0))
      throw new RangeError(`reconnect.${name} is a number from 0, not ${value}.`);
  }
  return bounds;
}
function backoffMs(attempt, bounds, retryMs) {
  const base = Math.min(Math.max(bounds.initialDelayMs, retryMs ?? 0), bounds.maxDelayMs);
  const longest = Math.min(base * 2 ** (attempt - 1), bounds.maxDelayMs);
  return longest * (0.5 + Math.random() / 2);
}
var Reconnection = class {
  /** What the server asked for by `retry:`. */
  retryMs = null;
  bounds;
  #callbacks;
  #signal;
  #failures = 0;
  constructor(bounds, callbacks, signal) {
    this.bounds = bounds;
    this.#callbacks = callbacks;
    this.#signal = signal;
  }
  /** An event or a keep-alive came: the count begins anew with the next failure. */
  progressed() {
    this.#failures = 0;
  }
  /** Whether what a refusal asks to wait is within the bound. */
  isPatientFor(refused) {
    return (refused.retryAfterSeconds ?? 0) * 1e3 <= this.bounds.maxRetryAfterMs;
  }
  /**
   * Waits before the next attempt.
   *
   * @throws {RequestRefusedError} `cause` itself, at the bound
   * @throws {ConnectionLostError} at the bound, if `cause` is something else
   */
  async pause(cause, names) {
    this.#failures += 1;
    const { maxAttempts } = this.bounds;
    if (this.#failures > maxAttempts) {
      if (cause instanceof RequestRefusedError)
        throw cause;
      const { sessionId, streamId } = names;
      throw new ConnectionLostError(this.#failures - 1, { sessionId, streamId: streamId ?? void 0, cause });
    }
    const asked = cause instanceof RequestRefusedError ? (cause.retryAfterSeconds ?? 0) * 1e3 : 0;
    const delayMs = Math.max(asked, backoffMs(this.#failures, this.bounds, this.retryMs));
    this.#callbacks.reconnecting({ attempt: this.#failures, maxAttempts, delayMs, cause });
    await pause(delayMs, this.#signal, { exactly: asked > 0 });
  }
};
function retryAfterMs(header, now = null) {
  if (header === null)
    return null;
  if (/^\s*\d+\s*$/.test(header))
    return Number(header) * 1e3;
  if (!/[a-z]{3}/i.test(header))
    return null;
  const date = Date.parse(header);
  const here = now === null ? NaN : Date.parse(now);
  return Number.isNaN(date) ? null : Math.max(0, date - (Number.isNaN(here) ? Date.now() : here));
}
function pause(milliseconds, signal, { exactly = false } = {}) {
  return new Promise((resolve, reject) => {
    const settle = (end) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", aborted);
      forget();
      end();
    };
    const done = () => settle(resolve);
    const aborted = () => settle(() => reject(signal.reason));
    const timer = setTimeout(done, Math.min(milliseconds, MAX_TIMER_MS));
    const forget = exactly ? () => {
    } : whenBack(done);
    if (signal.aborted)
      aborted();
    else
      signal.addEventListener("abort", aborted);
  });
}

// dist/connection.js
var Connection = class {
  /** The body ended as HTTP says that it should. */
  endedCleanly = false;
  /** A new event came by this connection. */
  broughtEvents = false;
  #idleTimeoutMs;
  #controller = new AbortController();
  #heardAt = Date.now();
  /** @param idleTimeoutMs how long it may be silent; 0: for ever */
  constructor(idleTimeoutMs) {
    this.#idleTimeoutMs = idleTimeoutMs;
  }
  /** Ends the connection. What waits for it gets `reason`. */
  fail(reason) {
    this.#controller.abort(reason);
  }
  /**
   * Sends a request.
   *
   * @throws what `send` throws, or why the connection failed
   */
  async open(send) {
    this.#controller.signal.throwIfAborted();
    const sent = send(this.#controller.signal);
    const endLate = async (response) => void (this.#controller.signal.aborted && await response.body?.cancel());
    sent.then(endLate).catch(() => {
    });
    return this.#unlessItFails(sent);
  }
  /**
   * The text of a response.
   *
   * @throws why the connection failed
   */
  async text(response, mostBytes = Infinity) {
    const decoder = new TextDecoder();
    let text = "";
    let left = mostBytes;
    for await (const bytes of this.#bytes(response)) {
      left -= bytes.length;
      if (left < 0)
        return "";
      text += decoder.decode(bytes, { stream: true });
    }
    return text + decoder.decode();
  }
  /** The text of a refusal, which is small. Otherwise nothing: the status is known all the same. */
  async textOfRefusal(response) {
    return this.text(response, 1048576).catch(() => "");
  }
  /**
   * The events of a response.
   *
   * @param heard is called with the connection's reader after each piece of bytes, before its events
   * @throws why the connection failed
   */
  async *events(response, heard, onComment) {
    const parser = new EventSourceParser(onComment);
    for await (const bytes of this.#bytes(response)) {
      const events = parser.push(bytes);
      heard(parser);
      yield* events;
    }
    this.endedCleanly = true;
  }
  async *#bytes(response) {
    if (response.body === null)
      return;
    const { signal } = this.#controller;
    const reader = response.body.getReader();
    const cancel = () => void reader.cancel().catch(() => {
    });
    signal.addEventListener("abort", cancel);
    try {
      for (; ; ) {
        const { done, value } = await this.#unlessItFails(reader.read());
        if (done)
          return;
        yield value;
      }
    } finally {
      signal.removeEventListener("abort", cancel);
      cancel();
    }
  }
  /** What `work` gives, within the bound of silence. */
  #unlessItFails(work) {
    const { signal } = this.#controller;
    const limit = this.#idleTimeoutMs;
    const silent = () => this.fail(new Error(`Nothing arrived for ${limit} ms.`));
    this.#heardAt = Date.now();
    return new Promise((resolve, reject) => {
      const isBounded = limit > 0 && limit <= MAX_TIMER_MS;
      const timer = isBounded ? setTimeout(silent, limit) : void 0;
      const forget = isBounded ? whenBack(() => void (Date.now() - this.#heardAt > limit && silent())) : () => {
      };
      const settle = () => {
        clearTimeout(timer);
        forget();
        signal.removeEventListener("abort", failed);
      };
      const failed = () => {
        settle();
        reject(signal.reason);
      };
      work.then(resolve, reject).finally(settle);
      if (signal.aborted)
        failed();
      else
        signal.addEventListener("abort", failed);
    });
  }
};

// dist/open-connections.js
var ANSWER_MS = 250;
var PATIENCE_MS = 1e3;
var Origin = class {
  held = /* @__PURE__ */ new Set();
  /** One connection carries all requests: nobody waits for another's end. */
  isMultiplexed;
  #channel;
  #counts = /* @__PURE__ */ new Map();
  constructor(name) {
    this.isMultiplexed = isMultiplexed(name);
    this.#channel = this.isMultiplexed ? null : channelOf(name);
    if (this.#channel !== null)
      this.#channel.onmessage = ({ data }) => this.#take(data);
  }
  /** How many connections other tabs hold. */
  async others() {
    const question = String(Math.random());
    this.#counts.set(question, 0);
    this.#channel?.postMessage({ question });
    await new Promise((resolve) => setTimeout(resolve, ANSWER_MS));
    const count = this.#counts.get(question) ?? 0;
    this.#counts.delete(question);
    return count;
  }
  /** Whether it is known of other tabs' connections, and matters. */
  get isShared() {
    return this.#channel !== null;
  }
  close() {
    this.#channel?.close();
  }
  #take(message) {
    if ("question" in message) {
      this.#channel?.postMessage({ answer: message.question, connections: this.held.size });
    } else if (this.#counts.has(message.answer)) {
      this.#counts.set(message.answer, this.#counts.get(message.answer) + message.connections);
    }
  }
};
var origins = /* @__PURE__ */ new Map();
var NONE = { held: /* @__PURE__ */ new Set(), isMultiplexed: false };
function holdConnection(url, mostHidden, connection, signal) {
  const name = originOf(url);
  const origin = origins.get(name) ?? new Origin(name);
  origins.set(name, origin);
  origin.held.add(connection);
  const isBounded = origin.isShared && mostHidden !== Infinity;
  const count = async () => {
    const others = await origin.others() + origin.held.size - 1;
    if (origin.held.has(connection) && isHidden() && others >= mostHidden)
      connection.giveUp(shown(signal));
  };
  const check = () => void (isBounded && isHidden() && count());
  const forget = isBounded ? whenHidden(check) : () => {
  };
  check();
  const end = () => {
    forget();
    origin.held.delete(connection);
    if (origin.held.size > 0 || origins.get(name) !== origin)
      return;
    origin.close();
    origins.delete(name);
  };
  return { check, end };
}
function makeRoom(url, request2, first, longestMs) {
  const until = new Promise((resolve) => {
    const timer = setInterval(() => giveOneUp(url, first, until), PATIENCE_MS);
    const done = () => {
      clearInterval(timer);
      clearTimeout(end);
      resolve();
    };
    const end = setTimeout(done, longestMs);
    request2.then(done, done);
  });
}
function giveOneUp(url, first, until) {
  const { held, isMultiplexed: isMultiplexed2 } = origins.get(originOf(url)) ?? NONE;
  if (isMultiplexed2)
    return;
  const inTurn = held.has(first) ? [first, ...held] : [...held];
  inTurn.some((connection) => connection.giveUp(until));
}
function channelOf(name) {
  if (typeof document === "undefined" || typeof BroadcastChannel === "undefined")
    return null;
  try {
    return new BroadcastChannel(`streamguard-client ${name}`);
  } catch {
    return null;
  }
}
function originOf(url) {
  try {
    return new URL(url, typeof document === "undefined" ? void 0 : document.baseURI).origin;
  } catch {
    return "";
  }
}
function isMultiplexed(origin) {
  if (origin !== globalThis.location?.origin)
    return false;
  const [page] = performance.getEntriesByType?.("navigation") ?? [];
  return /^h[23]/.test(page?.nextHopProtocol ?? "");
}

// dist/requests.js
async function resolved(value) {
  return typeof value === "function" ? await value() : value;
}
function routeOf(options, sessionId, path, query = {}) {
  if (sessionId === "" || sessionId === "." || sessionId === "..") {
    throw new StreamguardError("session_invalid", "A session id is not empty, `.` or `..`.", { sessionId });
  }
  const [prefix = "", kept] = (options.routes ?? options.api ?? "/api/chat").split("#", 1)[0].split("?", 2);
  const parameters = new URLSearchParams(kept);
  for (const [name, value] of Object.entries(query))
    parameters.set(name, value);
  const search = String(parameters);
  return `${prefix.replace(/\/+$/, "")}/${encodeURIComponent(sessionId)}${path}${search && `?${search}`}`;
}
function randomKey() {
  const hex = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0"));
  return crypto.randomUUID?.() ?? hex().join("");
}
async function request(options, url, init) {
  const headers = headersOf(await resolved(options.headers));
  headersOf(init.headers).forEach((value, name) => headers.set(name, value));
  const credentials = await resolved(options.credentials);
  const send = options.fetch ?? globalThis.fetch;
  if (options.fetch === void 0 && !isWhole(url)) {
    throw new StreamguardError("request_invalid", `Outside of a page, \`api\` is a whole URL, not ${url}.`);
  }
  return send(url, {
    method: init.method,
    headers: Object.fromEntries(headers),
    ...credentials === void 0 ? {} : { credentials },
    ...init.body === void 0 ? {} : { body: init.body },
    ...init.signal === void 0 ? {} : { signal: init.signal }
  });
}
function headersOf(given2) {
  try {
    return new Headers(given2);
  } catch (cause) {
    throw new StreamguardError("request_invalid", "A header cannot be sent.", { cause });
  }
}
function isWhole(url) {
  try {
    return Boolean(new URL(url, globalThis.location?.href));
  } catch {
    return false;
  }
}
function refusal(response, text, sessionId) {
  const fault = faultInBody(text);
  const wait = retryAfterMs(response.headers.get("retry-after"), response.headers.get("date"));
  const code = fault?.code ?? `http_${response.status}`;
  const failed = code === "resume_failed" || code === "cursor_invalid" ? ResumeFailedError : RequestRefusedError;
  return new failed(code, fault?.message ?? `The server answered ${response.status}.`, {
    status: response.status,
    retryable: fault?.retryable ?? isTemporary(response.status),
    sessionId,
    streamId: response.headers.get("x-stream-id") ?? void 0,
    retryAfterSeconds: wait === null ? void 0 : wait / 1e3,
    fault
  });
}
function isTemporary(status) {
  return status === 408 || status === 429 || status >= 500;
}

// dist/sessions.js
async function stopAnswer(options) {
  const query = options.streamId === void 0 ? {} : { stream_id: options.streamId };
  const response = await ask(options, routeOf(options, options.sessionId, "/stop", query), "POST");
  return response.status === 202 ? "stopping" : "nothing_runs";
}
async function sessionStatus(options) {
  const response = await ask(options, routeOf(options, options.sessionId, ""), "GET");
  return jsonOf(response, options, "session_id");
}
async function savedMessages(options) {
  const messages = [];
  let after = null;
  do {
    const query = after === null ? {} : { after: String(after) };
    const response = await ask(options, routeOf(options, options.sessionId, "/messages", query), "GET");
    const page = jsonOf(response, options, "messages");
    if (!isListOfObjects(page.messages))
      throw notOfAServer(response, options);
    messages.push(...page.messages.filter(({ position }) => position !== null));
    const next = page.next ?? null;
    if (next !== null && !(next > (after ?? -1))) {
      throw new ProtocolError("The next page of messages is none.", { sessionId: options.sessionId });
    }
    after = next;
  } while (after !== null);
  return messages;
}
async function ask(options, url, method) {
  const { signal } = options;
  const connection = new Connection(0);
  const end = () => connection.fail(signal?.reason);
  if (signal?.aborted)
    end();
  signal?.addEventListener("abort", end);
  try {
    const response = await connection.open((aborting) => request(options, url, { method, signal: aborting }));
    if (!response.ok)
      throw refusal(response, await connection.textOfRefusal(response), options.sessionId);
    return { status: response.status, text: await connection.text(response) };
  } catch (error) {
    if (error instanceof StreamguardError || signal?.aborted)
      throw error;
    const details = { retryable: true, sessionId: options.sessionId, cause: error };
    throw new StreamguardError("connection_lost", "The server could not be reached.", details);
  } finally {
    signal?.removeEventListener("abort", end);
  }
}
function jsonOf(response, options, field) {
  let document2;
  try {
    document2 = JSON.parse(response.text);
  } catch {
    document2 = null;
  }
  if (typeof document2 === "object" && document2 !== null && field in document2)
    return document2;
  throw notOfAServer(response, options);
}
function isListOfObjects(value) {
  return Array.isArray(value) && value.every((one) => typeof one === "object" && one !== null);
}
function notOfAServer({ status }, { sessionId }) {
  return new ProtocolError("The response is not a streamguard server's.", { status, sessionId });
}

// dist/stream-requests.js
var StreamRequests = class {
  /** The question's `Idempotency-Key`, or null without a question. */
  key;
  #options;
  constructor(options) {
    this.#options = options;
    this.key = options.question === void 0 ? null : options.question.idempotencyKey || randomKey();
  }
  /** Whether the question itself is sent, which is so until something of its answer has arrived. */
  asks(cursor) {
    return this.#options.question !== void 0 && cursor === null;
  }
  /** Where streams are read. */
  get streamUrl() {
    return routeOf(this.#options, this.#options.sessionId, "/stream", { ids: "1" });
  }
  /** Asks, or resumes after `cursor`. A question that is sent again is answered once, by its key. */
  async send(cursor, signal) {
    const { question, protocol, sessionId } = this.#options;
    if (question === void 0 || cursor !== null) {
      const headers2 = { accept: "text/event-stream" };
      if (cursor !== null)
        headers2["last-event-id"] = cursor;
      return request(this.#options, this.streamUrl, { method: "GET", headers: headers2, signal });
    }
    let url = this.#options.api ?? "/api/chat";
    if (protocol !== "ui-message" && protocol !== "plain")
      url = withIds(url);
    const headers = new Headers({ accept: "text/event-stream", "idempotency-key": this.key ?? "" });
    headersOf(question.headers).forEach((value, name) => headers.set(name, value));
    headers.set("content-type", "application/json");
    return request(this.#options, url, { method: "POST", headers, body: jsonOf2(question, sessionId), signal });
  }
  /** What the server knows of an answer; null if it cannot be asked, or has another one by now. */
  async status(streamId, idleTimeoutMs, signal) {
    const connection = new Connection(idleTimeoutMs);
    const end = () => connection.fail(signal.reason);
    signal.addEventListener("abort", end);
    try {
      const url = routeOf(this.#options, this.#options.sessionId, "");
      const response = await connection.open((aborting) => request(this.#options, url, { method: "GET", signal: aborting }));
      const text = await connection.text(response);
      const { last } = JSON.parse(text);
      return response.ok && last?.stream_id === streamId ? last : null;
    } catch {
      return null;
    } finally {
      signal.removeEventListener("abort", end);
    }
  }
};
function withIds(url) {
  const [address = "", fragment] = url.split("#", 2);
  const more = `${address}${address.includes("?") ? "&" : "?"}ids=1`;
  return fragment === void 0 ? more : `${more}#${fragment}`;
}
function jsonOf2({ body }, sessionId) {
  let cause;
  try {
    const text = JSON.stringify(body);
    if (text !== void 0)
      return text;
  } catch (error) {
    cause = error;
  }
  throw new StreamguardError("request_invalid", "The body of the question is no JSON.", { sessionId, cause });
}

// dist/event-stream.js
var GIVEN_UP = new Error("The connection was given up for another request.");
var EventStream = class _EventStream {
  /** How the answer ended; null until then, and if it failed. */
  outcome = null;
  #options;
  #requests;
  #told;
  #answer;
  #reconnection;
  #closing = new AbortController();
  #closed;
  #opened = null;
  #connection;
  #held = { giveUp: (until) => this.#giveUpConnection(until) };
  #hold = null;
  /** What is waited for before a connection that was given up is made again. */
  #givenUpUntil = null;
  #inDoubt = false;
  #read = false;
  #left = false;
  /**
   * @internal Use {@link openStream}. `told`: ids of faults that were told of before. `streamId`: the answer's, if it is
   *   known.
   */
  constructor(options, told = /* @__PURE__ */ new Set(), streamId = null) {
    const bounds = boundsOf(options.reconnect);
    this.#options = options;
    this.#requests = new StreamRequests(options);
    this.#told = told;
    this.#answer = new AnswerProgress(options, told, streamId);
    this.#reconnection = new Reconnection(bounds, this.#answer.callbacks, this.#closing.signal);
    this.#connection = new Connection(bounds.idleTimeoutMs);
    const signal = options.signal;
    if (signal?.aborted)
      this.#closing.abort(signal.reason);
    else
      signal?.addEventListener("abort", () => this.#closing.abort(signal.reason), { signal: this.#closing.signal });
    this.#closed = new Promise((resolve) => this.#closing.signal.addEventListener("abort", () => resolve()));
    this.#closing.signal.addEventListener("abort", () => this.#leave(this.#closing.signal.reason));
  }
  get sessionId() {
    return this.#answer.sessionId;
  }
  /** `X-Stream-Id` of the answer; null until the server has answered. */
  get streamId() {
    return this.#answer.streamId;
  }
  get messageId() {
    return this.#answer.messageId;
  }
  /** The last event's id: a later `openStream({cursor})` goes on after it. */
  get cursor() {
    return this.#answer.cursor;
  }
  /**
   * Sends the request, and resolves when the server has answered: false if there is nothing to read (204).
   * Iterating does so by itself.
   */
  async open() {
    return await this.#first() !== null;
  }
  /** Closes the connection: the iteration ends. The answer goes on, and can be read again. */
  close() {
    this.#left = true;
    if (!this.#read)
      this.#opened?.then((response) => response?.body?.cancel()).catch(() => {
      });
    this.#closing.abort(new DOMException("The stream was closed by its reader.", "AbortError"));
  }
  /**
   * A further stream of the same answer, which goes on after this one's last event: after {@link ConnectionLostError}, or
   * for a tab that left. If nothing had arrived, the question is sent again with its key, so that it is answered once.
   */
  resume() {
    const { question, cursor: _, signal, ...rest } = this.#options;
    const options = signal?.aborted ? rest : { ...rest, signal };
    if (this.cursor !== null)
      return new _EventStream({ ...options, cursor: this.cursor }, this.#told, this.streamId);
    if (question === void 0)
      return new _EventStream(options, this.#told);
    const idempotencyKey = this.#requests.key ?? void 0;
    return new _EventStream({ ...options, question: { ...question, idempotencyKey } }, this.#told);
  }
  /**
   * Stops the answer on the server. This stream then ends with what was written so far. See {@link stopAnswer}.
   *
   * Where open answers use up the browser's connections, a Stop would wait for one of them to end. After a second this
   * stream gives its own up, and then another one each second; they are made again when the server has answered, or has
   * been silent for `idleTimeoutMs`.
   */
  async stop() {
    const { signal: _, ...options } = this.#options;
    const { streamUrl } = this.#requests;
    const { idleTimeoutMs } = this.#reconnection.bounds;
    const stopped = stopAnswer({ ...options, streamId: this.streamId ?? void 0 });
    makeRoom(streamUrl, stopped, this.#held, Math.min(idleTimeoutMs || Infinity, MAX_TIMER_MS));
    return stopped;
  }
  async *[Symbol.asyncIterator]() {
    if (this.#read)
      throw new TypeError("A stream may be read once: open another with `cursor`.");
    this.#read = true;
    try {
      let response = await this.#first();
      if (response === null && this.outcome === null)
        this.outcome = "nothing";
      while (response !== null) {
        const broken = yield* this.#eventsOf(response);
        if (await this.#isOver())
          break;
        if (this.#answer.isLostWithConnection) {
          throw this.#answer.lost("not_resumable", "The connection was lost, and this answer cannot be resumed.", broken);
        }
        response = await this.#connect(this.#endedAsUpstreamsDo() ? null : broken);
        if (response === null)
          await this.#nothingFollows(broken);
      }
      const { reader } = this.#answer;
      if (reader?.upstreamError != null)
        throw this.#answer.failed(reader.upstreamError, null);
      this.outcome ??= reader?.outcome ?? "completed";
    } catch (error) {
      if (this.#left)
        return;
      throw error;
    } finally {
      this.#closing.abort(new DOMException("The stream has ended.", "AbortError"));
    }
  }
  /** The new events of one response. Gives why it ended before the answer did, if so. */
  async *#eventsOf(response) {
    const messages = this.#connection.events(response, ({ retryMs }) => this.#reconnection.retryMs = retryMs ?? this.#reconnection.retryMs, (text) => void (this.#answer.readComment(text) && this.#reconnection.progressed()));
    let { repeated } = this.#answer;
    try {
      for (; ; ) {
        let next;
        try {
          next = await messages.next();
        } catch (error) {
          if (this.#closing.signal.aborted)
            throw this.#closing.signal.reason;
          if (error instanceof StreamguardError)
            throw error;
          return error;
        }
        if (next.done)
          return new Error("The connection ended before the answer did.");
        if (repeated > 0) {
          repeated -= 1;
          continue;
        }
        const { delivered, isResumable } = this.#answer;
        const event = this.#answer.accept(next.value);
        if (event instanceof RequestRefusedError) {
          if (!this.#reconnection.isPatientFor(event))
            throw this.#answer.told(event);
          return event;
        }
        if (this.#answer.delivered > delivered) {
          this.#reconnection.progressed();
          this.#connection.broughtEvents = true;
        }
        if (!isResumable && this.#answer.isResumable)
          this.#hold?.check();
        if (event !== null)
          yield event;
        if (this.#answer.reader?.over === true)
          return null;
      }
    } finally {
      await messages.return();
    }
  }
  #first() {
    this.#opened ??= this.#connect(null).then((response) => {
      if (response === null)
        this.#closing.abort();
      return response;
    }, (error) => {
      this.#closing.abort(error);
      throw error;
    });
    return this.#opened;
  }
  /** Whether the answer is over, as far as its events or, for an upstream's stream, the server say. */
  async #isOver() {
    const reader = this.#answer.reader;
    if (reader.ended)
      return true;
    if (!this.#connection.endedCleanly)
      return false;
    if (reader.outcome !== null)
      return true;
    if (!reader.mayLackEndMark || this.#endedAsUpstreamsDo())
      return false;
    const known = await this.#askOutcome();
    return known === "decided" || known === "unknown" && this.cursor === null;
  }
  /** Whether a resume is to tell a clean end without an end mark from a cut: it brings what follows, if anything does. */
  #endedAsUpstreamsDo() {
    const { endedCleanly, broughtEvents } = this.#connection;
    return this.#answer.reader.mayLackEndMark && endedCleanly && broughtEvents && this.cursor !== null;
  }
  /** What the server says of the answer's end: some proxies make a clean end of a connection that broke. */
  async #askOutcome() {
    const reader = this.#answer.reader;
    if (this.streamId === null)
      return "unknown";
    const status = await this.#requests.status(this.streamId, this.#reconnection.bounds.idleTimeoutMs, this.#closing.signal);
    if (this.#closing.signal.aborted)
      throw this.#closing.signal.reason;
    if (status === null)
      return "unknown";
    const outcome = status.outcome ?? null;
    if (outcome === "completed" || outcome === "stopped")
      reader.outcome = outcome;
    else if (outcome !== null)
      throw this.#answer.failed(`The answer was ${outcome}.`, null);
    return outcome === null ? "being written" : "decided";
  }
  /** The server has nothing more. Everything was seen, and only the end itself was cut off, or the rest is lost. */
  async #nothingFollows(broken) {
    const reader = this.#answer.reader;
    if (reader.outcome !== null)
      return;
    if (this.cursor === null)
      throw this.#answer.lost("resume_failed", "The connection was lost, and the rest of the answer is gone.", broken);
    await this.#askOutcome();
  }
  /** Connects, after `failure` if there was one. Null: the server has nothing (more). */
  async #connect(failure) {
    const { signal } = this.#closing;
    this.#hold?.end();
    for (let failed = false; ; ) {
      if (failure === GIVEN_UP)
        await Promise.race([this.#givenUpUntil, this.#closed]);
      else if (failure !== null) {
        failed = true;
        await this.#pause(failure);
      }
      if (signal.aborted)
        throw signal.reason;
      const connection = this.#connection = new Connection(this.#reconnection.bounds.idleTimeoutMs);
      let response;
      try {
        response = await connection.open((aborting) => this.#requests.send(this.cursor, aborting));
      } catch (error) {
        if (signal.aborted)
          throw signal.reason;
        if (error instanceof StreamguardError)
          throw error;
        if (error !== GIVEN_UP)
          this.#inDoubt = true;
        failure = error;
        continue;
      }
      if (response.ok) {
        if (response.status !== 204)
          this.#begin(response);
        if (failed)
          this.#answer.callbacks.reconnected();
        return response.status === 204 ? null : response;
      }
      const refused = refusal(response, await connection.textOfRefusal(response), this.sessionId);
      if (signal.aborted)
        throw signal.reason;
      if (!this.#mayAskAgain(refused))
        throw this.#answer.told(refused);
      failure = refused;
    }
  }
  #begin(response) {
    try {
      this.#answer.begin(response);
    } catch (error) {
      this.#connection.fail(error);
      void response.body?.cancel().catch(() => {
      });
      throw error;
    }
    const { maxHiddenConnections } = this.#reconnection.bounds;
    this.#hold = holdConnection(this.#requests.streamUrl, maxHiddenConnections, this.#held, this.#closing.signal);
  }
  /** Ends the connection, and makes it again after `until`. False where the answer could not be resumed then. */
  #giveUpConnection(until) {
    if (!this.#answer.isResumable)
      return false;
    this.#givenUpUntil = until;
    this.#hold?.end();
    this.#connection.fail(GIVEN_UP);
    return true;
  }
  #leave(reason) {
    this.#connection.fail(reason);
    this.#hold?.end();
  }
  /** Waits before the next attempt, or throws at the bound. */
  async #pause(cause) {
    try {
      await this.#reconnection.pause(cause, this.#answer.names);
    } catch (error) {
      throw error === cause && error instanceof RequestRefusedError ? this.#answer.told(error) : error;
    }
  }
  /** Whether a refusal may be temporary. A refused question is not repeated, unless nobody knows if it had arrived. */
  #mayAskAgain(refused) {
    const asks = this.#requests.asks(this.cursor);
    if (asks && !this.#inDoubt && this.#answer.delivered === 0 && this.streamId === null)
      return false;
    if (refused instanceof ResumeFailedError || refused.code.startsWith("quota_"))
      return false;
    return refused.retryable && this.#reconnection.isPatientFor(refused);
  }
};
function openStream(options) {
  return new EventStream(options);
}

// dist/continued-message.js
var CALL = ["toolCallId", "providerExecuted", "title", "toolMetadata"];
function continuedMessage(message) {
  const parts = [part("start", { messageId: message.id, messageMetadata: message.metadata })];
  message.parts.forEach((one, index) => {
    const type = String(one["type"]);
    if (type === "text" || type === "reasoning")
      parts.push(...span(type, one, `before-${index}`));
    else if (type === "step-start")
      parts.push({ type: "start-step" });
    else if (type === "dynamic-tool" || type.startsWith("tool-"))
      parts.push(...call2(type, one));
    else
      parts.push(one);
  });
  return parts;
}
function* span(type, one, fallbackId) {
  const id = typeof one["id"] === "string" ? one["id"] : fallbackId;
  yield part(`${type}-start`, { id, providerMetadata: one["providerMetadata"] });
  if (one["text"])
    yield part(`${type}-delta`, { id, delta: one["text"] });
  yield part(`${type}-end`, { id, citations: one["citations"] });
}
function* call2(type, one) {
  const isDynamic = type === "dynamic-tool";
  const { toolCallId, state, approval } = one;
  const shared = { ...given(one, ...CALL), ...isDynamic ? { dynamic: true } : {} };
  const toolName = isDynamic ? one["toolName"] : type.slice("tool-".length);
  const begun = { ...shared, toolName, providerMetadata: one["callProviderMetadata"] };
  const ended = { ...shared, providerMetadata: one["resultProviderMetadata"] };
  const failsAtOnce = state === "output-error" && one["rawInput"] === void 0 && one["input"] !== void 0;
  yield part("tool-input-start", { ...begun, ...given(one, "inputEncoding") });
  if (state === "input-available" || state === "approval-requested") {
    yield part("tool-input-available", { ...begun, input: one["input"] });
  } else if (!failsAtOnce && (one["rawInput"] ?? one["input"]) !== void 0) {
    const raw = typeof one["rawInput"] === "string" ? one["rawInput"] : JSON.stringify(one["input"]);
    yield part("tool-input-delta", { toolCallId, inputTextDelta: raw });
  }
  if (approval !== void 0) {
    const { id, approved, reason, descriptor, requestReason, ...more } = approval;
    const told = { ...more, approvalDescriptor: descriptor, reason: requestReason };
    yield part("tool-approval-request", { approvalId: id, toolCallId, ...told });
    if (typeof approved === "boolean")
      yield part("tool-approval-response", { approvalId: id, approved, reason });
  }
  if (state === "output-available")
    yield part("tool-output-available", { ...ended, ...given(one, "output", "preliminary") });
  else if (failsAtOnce)
    yield part("tool-input-error", { ...ended, toolName, ...given(one, "input", "errorText") });
  else if (state === "output-error")
    yield part("tool-output-error", { ...ended, ...given(one, "errorText") });
  else if (state === "output-denied")
    yield part("tool-output-denied", { toolCallId });
}
function part(type, fields) {
  return { type, ...given(fields, ...Object.keys(fields)) };
}
function given(fields, ...names) {
  return Object.fromEntries(names.filter((name) => fields[name] !== void 0).map((name) => [name, fields[name]]));
}

// dist/open-parts.js
var OpenParts = class {
  #spans = /* @__PURE__ */ new Map();
  #calls = /* @__PURE__ */ new Map();
  /** Takes note of a part that the page gets. */
  note(part2) {
    const { type, id, toolCallId, inputTextDelta, dynamic } = part2;
    const call3 = String(toolCallId);
    switch (type) {
      case "start":
        this.#spans.clear();
        this.#calls.clear();
        break;
      case "text-start":
      case "reasoning-start":
        this.#spans.set(`${type} ${id}`, { type: type.replace("start", "end"), id: String(id) });
        break;
      case "text-end":
      case "reasoning-end":
        this.#spans.delete(`${type.replace("end", "start")} ${id}`);
        break;
      case "tool-input-start":
      case "tool-input-available":
        this.#calls.set(call3, { dynamic: dynamic === true, whole: type === "tool-input-available", begun: "" });
        break;
      case "tool-input-delta": {
        const open = this.#calls.get(call3);
        if (open && open.begun === "")
          open.begun = String(inputTextDelta).trimStart();
        break;
      }
      case "tool-output-available":
      case "tool-output-error":
      case "tool-input-error":
      case "tool-output-denied":
        this.#calls.delete(call3);
        break;
    }
  }
  /**
   * The parts that end what is open. Afterwards nothing is.
   *
   * @param complete the answer ended as it should: then a call whose input is whole waits for the page's own tool,
   *   and stays.
   */
  ends(complete) {
    const parts = [...this.#spans.values()];
    for (const [toolCallId, { dynamic, whole, begun }] of this.#calls) {
      if (whole && complete)
        continue;
      if (!whole && begun === "")
        parts.push({ type: "tool-input-delta", toolCallId, inputTextDelta: "{}" });
      const errorText = "This call was not finished.";
      parts.push({ type: "tool-output-error", toolCallId, errorText, ...dynamic ? { dynamic } : {} });
    }
    this.#spans.clear();
    this.#calls.clear();
    return parts;
  }
};

// dist/transport.js
var StreamguardTransport = class {
  /** Read by AI SDK 6 and 7: a resumed answer begins with its start. */
  resumeStreamIsReplay = true;
  #options;
  #answers = /* @__PURE__ */ new Map();
  #resending = /* @__PURE__ */ new Set();
  /** By chat: the streams whose saved messages were given to the page. */
  #loaded = /* @__PURE__ */ new Map();
  constructor(options = {}) {
    this.#options = options;
  }
  /** Asks. Called by AI SDK. The stream before it, if any, is left: a new question begins with nothing of the old one. */
  async sendMessages(options) {
    const { chatId, trigger, messageId, metadata, abortSignal } = options;
    this.#forget(chatId);
    const all = options.messages;
    const messages = this.#options.onlyLastMessage === true ? all.slice(-1) : all;
    const base = { ...await resolved(this.#options.body), ...options.body, id: chatId, messages, trigger, messageId };
    const prepared = await this.#options.prepareRequest?.({ chatId, messages, trigger, messageId, body: base, metadata });
    const headers = new Headers(options.headers);
    new Headers(prepared?.headers).forEach((value, name) => headers.set(name, value));
    const idempotencyKey = headers.get("idempotency-key") || randomKey();
    const question = { body: prepared?.body ?? base, headers: this.#versioned(headers), idempotencyKey };
    const last = all.at(-1);
    const continued = last?.role === "assistant" && trigger === "submit-message" ? continuedMessage(last) : [];
    const stream = await this.#ask(chatId, question, continued, abortSignal);
    if (stream !== null)
      return stream;
    return new ReadableStream({ start: (controller) => controller.close() });
  }
  /**
   * Continues the chat's answer from its beginning. Called by AI SDK's `resumeStream()`.
   *
   * @returns null only if there is nothing to resume
   * @throws {ResumeFailedError} there was an answer, and the rest of it cannot be had any more
   */
  async reconnectToStream(options) {
    const { chatId, abortSignal } = options;
    const known = this.#answers.get(chatId);
    if (this.#resending.delete(chatId) && known?.question) {
      known.replaced = true;
      known.stream.close();
      return this.#ask(chatId, known.question, known.continued, abortSignal, known.told);
    }
    const goesOn = known !== void 0 && known.lost && known.stream.cursor !== null;
    const headers = Object.fromEntries(this.#versioned(new Headers(options.headers)));
    const told = known?.told ?? /* @__PURE__ */ new Set();
    const streamId = goesOn ? known.stream.streamId : null;
    const stream = this.#stream(chatId, told, abortSignal, streamId, {
      cursor: goesOn ? known.stream.cursor ?? void 0 : void 0,
      headers: async () => ({ ...Object.fromEntries(new Headers(await resolved(this.#options.headers))), ...headers })
    });
    const found = await stream.open().catch((error) => {
      if (goesOn && error instanceof ResumeFailedError)
        known.lost = false;
      throw error;
    });
    const newest = this.#answers.get(chatId);
    if (newest !== known && newest?.question || !found && !goesOn) {
      stream.close();
      return null;
    }
    if (!("abortSignal" in options) && this.#loaded.get(chatId)?.has(stream.streamId ?? "")) {
      stream.close();
      return null;
    }
    const { question = null, continued = [] } = known ?? {};
    const answer = { stream, question, told, continued, parts: [], lost: false, replaced: false };
    this.#answers.set(chatId, answer);
    return this.#readable(answer, goesOn ? known.parts : [], abortSignal);
  }
  /**
   * Stops the answer that this tab shows, on the server; the open stream then ends with what was written so far.
   * A Stop that comes late ends no later answer.
   *
   * @throws {RequestRefusedError} 401, 403, 429 or 503: the answer goes on
   */
  stop(chatId) {
    const stream = this.#answers.get(chatId)?.stream;
    if (stream !== void 0)
      return stream.stop();
    return stopAnswer({ ...this.#options, sessionId: chatId });
  }
  /**
   * Sends the chat's last question again, with the same `Idempotency-Key`: if it had arrived, its answer is shown, and
   * no second one is written.
   *
   * @param chat what `useChat` returned
   */
  async resend(chat) {
    if (this.#answers.get(chat.id)?.question)
      this.#resending.add(chat.id);
    try {
      await chat.resumeStream();
    } finally {
      this.#resending.delete(chat.id);
    }
  }
  /** The id of the chat's answer, as far as this tab knows. */
  streamId(chatId) {
    return this.#answers.get(chatId)?.stream.streamId ?? null;
  }
  /** What the server has saved of a chat: `useChat`'s `messages`. See {@link savedMessages}. */
  async savedMessages(chatId) {
    const messages = await savedMessages({ ...this.#options, sessionId: chatId });
    this.#loaded.set(chatId, new Set(messages.flatMap(({ stream_id }) => stream_id ?? [])));
    return messages;
  }
  /** The chat's running and last answer, and the owner's quota. See {@link sessionStatus}. */
  status(chatId) {
    return sessionStatus({ ...this.#options, sessionId: chatId });
  }
  #versioned(headers) {
    const { clientVersion } = this.#options;
    if (clientVersion !== void 0)
      headers.set("x-ai-sdk-version", clientVersion);
    return headers;
  }
  #forget(chatId) {
    const answer = this.#answers.get(chatId);
    if (answer === void 0)
      return;
    answer.replaced = true;
    answer.stream.close();
    this.#answers.delete(chatId);
    this.#resending.delete(chatId);
  }
  #stream(chatId, told, signal, streamId, more) {
    const { api, routes, headers, credentials, fetch, reconnect } = this.#options;
    const { onFault, onPersisted, onQuota, onReconnect, onReconnected } = this.#options;
    const protocol = "ui-message";
    const connection = { api, routes, headers, credentials, fetch, reconnect, signal, protocol, sessionId: chatId, ...more };
    const options = { ...connection, onFault, onPersisted, onQuota, onReconnect, onReconnected };
    const given2 = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== void 0));
    return new EventStream(given2, told, streamId);
  }
  async #ask(chatId, question, continued, signal, told) {
    this.#forget(chatId);
    const isResent = told !== void 0;
    told ??= /* @__PURE__ */ new Set();
    const stream = this.#stream(chatId, told, signal, null, { question });
    const parts = isResent ? [] : [...continued];
    const answer = { stream, question, told, continued, parts, lost: false, replaced: false };
    this.#answers.set(chatId, answer);
    if (this.#options.stopOnAbort === true) {
      signal?.addEventListener("abort", () => answer.stream.outcome === null && void stream.stop().catch(() => {
      }));
    }
    const found = await stream.open();
    return found ? this.#readable(answer, isResent ? continued : [], signal) : null;
  }
  #readable(answer, before, signal) {
    const chunks = chunksOf(answer, before, signal);
    return new ReadableStream(
      {
        async pull(controller) {
          try {
            const { done, value } = await chunks.next();
            if (done)
              controller.close();
            else
              controller.enqueue(value);
          } catch (error) {
            controller.error(error);
          }
        },
        cancel() {
          answer.stream.close();
        }
      },
      // What waits in a queue would be lost with an error behind it.
      { highWaterMark: 0 }
    );
  }
};
async function* chunksOf(answer, before, signal) {
  const { stream } = answer;
  const open = new OpenParts();
  const keep = (part2) => {
    open.note(part2);
    if (part2.transient !== true)
      append(answer.parts, part2);
    return part2;
  };
  try {
    for (const part2 of before)
      yield keep(part2);
    for await (const { part: part2 } of stream)
      yield keep(part2);
    if (answer.replaced)
      return;
    yield* open.ends(stream.outcome !== "stopped");
    answer.parts = [];
    answer.question = null;
  } catch (error) {
    if (answer.replaced)
      return;
    answer.lost = error instanceof ConnectionLostError;
    if (!signal?.aborted)
      yield* open.ends(false);
    throw error;
  }
}
function append(parts, part2) {
  const field = part2.type === "tool-input-delta" ? "inputTextDelta" : "delta";
  const last = parts.at(-1);
  const next = part2;
  const [before, more] = [last?.[field], next[field]];
  const isMore = last?.type === next.type && last?.id === next.id && last?.toolCallId === next.toolCallId;
  if (!isMore || typeof before !== "string" || typeof more !== "string")
    parts.push(part2);
  else
    parts[parts.length - 1] = { ...last, ...part2, [field]: before + more };
}
export {
  AnswerFailedError,
  ConnectionLostError,
  EventSourceParser,
  EventStream,
  ProtocolError,
  RequestRefusedError,
  ResumeFailedError,
  StreamguardError,
  StreamguardTransport,
  faultOf,
  isQuotaFault,
  openStream,
  persistedOf,
  savedMessages,
  sessionStatus,
  stopAnswer
};
