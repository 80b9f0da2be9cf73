// How a page uses `streamguard-client` with AI SDK; compiled against each of its versions.

import { useChat } from "@ai-sdk/react";
import type { ChatTransport, UIMessage } from "ai";
import {
  type Fault,
  StreamguardError,
  StreamguardTransport,
  type StreamguardTransportOptions,
  faultOf,
  openStream,
} from "streamguard-client";

type MyMessage = UIMessage<{ model: string }, { chart: { points: number[] } }>;

export const plain: ChatTransport<UIMessage> = new StreamguardTransport();
export const mine: ChatTransport<MyMessage> = new StreamguardTransport<MyMessage>({
  headers: async () => ({ authorization: "Bearer x" }),
  prepareRequest: ({ messages, body }) => ({ body: { ...body, last: messages.at(-1)?.metadata?.model } }),
});

export const options: StreamguardTransportOptions<MyMessage> = {
  onFault: (fault: Fault, { streamId }) => console.log(fault.code, streamId?.length),
  // @ts-expect-error -- there is no such bound
  reconnect: { attempts: 3 },
};

/** What a page has read from its settings, and may lack. */
export const perhaps = (api: string | undefined, attempts: number | undefined): StreamguardTransportOptions<MyMessage> => ({
  api,
  headers: undefined,
  clientVersion: undefined,
  reconnect: { maxAttempts: attempts },
});

export function Page({ id }: { id: string }) {
  const transport = new StreamguardTransport<MyMessage>();
  const chat = useChat<MyMessage>({
    id,
    transport,
    resume: true,
    onData: (part) => console.log(faultOf(part)?.fault_id),
    onError: (error) => console.log(error instanceof StreamguardError ? error.code : error.message),
  });
  const again: Promise<void> = transport.resend(chat);
  void again;
  void transport.savedMessages(id).then((saved) => chat.setMessages(saved));
  return <button onClick={() => transport.stop(id)}>{chat.messages.length}</button>;
}

/** The type of messages is AI SDK's own unless it is named. */
export function Untyped({ id }: { id: string }) {
  const transport = new StreamguardTransport();
  const { messages } = useChat({ id, transport });
  const texts: string[] = messages.flatMap((message) => message.parts.map((part) => (part.type === "text" ? part.text : "")));
  return <p>{texts.join("")}</p>;
}

export async function read(): Promise<string> {
  let text = "";
  for await (const event of openStream({ sessionId: "c1" })) {
    if (event.type === "text-delta") text += event.part.delta;
    // @ts-expect-error -- only some parts have it
    text += event.part.delta;
  }
  return text;
}
