/** A message as parts of a stream, for a page that begins the message anew when it resumes an answer that continues it. */

type Fields = Record<string, unknown>;
type StreamPart = { readonly type: string };
type Message = { readonly id: string; readonly parts: readonly any[]; readonly metadata?: unknown };

const CALL = ["toolCallId", "providerExecuted", "title", "toolMetadata"];

/**
 * The parts that make AI SDK's client hold `message`. A call that was answered is told without `tool-input-available`,
 * because the page would run its tool again.
 */
export function continuedMessage(message: Message): StreamPart[] {
  const parts: StreamPart[] = [part("start", { messageId: message.id, messageMetadata: message.metadata })];
  message.parts.forEach((one: Fields, index) => {
    const type = String(one["type"]);
    if (type === "text" || type === "reasoning") parts.push(...span(type, one, `before-${index}`));
    else if (type === "step-start") parts.push({ type: "start-step" });
    else if (type === "dynamic-tool" || type.startsWith("tool-")) parts.push(...call(type, one));
    else parts.push(one as StreamPart);
  });
  return parts;
}

function* span(type: string, one: Fields, fallbackId: string): Generator<StreamPart> {
  const id = typeof one["id"] === "string" ? one["id"] : fallbackId;
  yield part(`${type}-start`, { id, providerMetadata: one["providerMetadata"] });
  if (one["text"]) yield part(`${type}-delta`, { id, delta: one["text"] });
  yield part(`${type}-end`, { id, citations: one["citations"] });
}

function* call(type: string, one: Fields): Generator<StreamPart> {
  const isDynamic = type === "dynamic-tool";
  const { toolCallId, state, approval } = one as { toolCallId: string; state: string; approval?: Fields };
  const shared = { ...given(one, ...CALL), ...(isDynamic ? { dynamic: true } : {}) };
  const toolName = isDynamic ? one["toolName"] : type.slice("tool-".length);
  const begun = { ...shared, toolName, providerMetadata: one["callProviderMetadata"] };
  const ended = { ...shared, providerMetadata: one["resultProviderMetadata"] };
  const failsAtOnce = state === "output-error" && one["rawInput"] === undefined && one["input"] !== undefined;
  yield part("tool-input-start", { ...begun, ...given(one, "inputEncoding") });
  if (state === "input-available" || state === "approval-requested") {
    yield part("tool-input-available", { ...begun, input: one["input"] });
  } else if (!failsAtOnce && (one["rawInput"] ?? one["input"]) !== undefined) {
    const raw = typeof one["rawInput"] === "string" ? one["rawInput"] : JSON.stringify(one["input"]);
    yield part("tool-input-delta", { toolCallId, inputTextDelta: raw });
  }
  if (approval !== undefined) {
    const { id, approved, reason, descriptor, requestReason, ...more } = approval;
    const told = { ...more, approvalDescriptor: descriptor, reason: requestReason };
    yield part("tool-approval-request", { approvalId: id, toolCallId, ...told });
    if (typeof approved === "boolean") yield part("tool-approval-response", { approvalId: id, approved, reason });
  }
  if (state === "output-available") yield part("tool-output-available", { ...ended, ...given(one, "output", "preliminary") });
  else if (failsAtOnce) yield part("tool-input-error", { ...ended, toolName, ...given(one, "input", "errorText") });
  else if (state === "output-error") yield part("tool-output-error", { ...ended, ...given(one, "errorText") });
  else if (state === "output-denied") yield part("tool-output-denied", { toolCallId });
}

/** A part without the fields that are undefined. */
function part(type: string, fields: Fields): StreamPart {
  return { type, ...given(fields, ...Object.keys(fields)) };
}

function given(fields: Fields, ...names: string[]): Fields {
  return Object.fromEntries(names.filter((name) => fields[name] !== undefined).map((name) => [name, fields[name]]));
}
