// The data of server-sent events, one by one.
import { EventSourceParserStream } from "eventsource-parser/stream";

export async function* eventData(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  const reader = body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())
    .getReader();
  try {
    // Safari's streams cannot be iterated over.
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value.data;
  } finally {
    await reader.cancel().catch(() => {}); // After an abort it has failed already.
  }
}
