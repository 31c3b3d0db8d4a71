// Replies that come in frames: framing, back-pressure and the client that leaves, in one place. Knows no dialect: a frame
// is an object to be sent as JSON, or a bare string such as "[DONE]".

export type Frame = object | string;

export interface Framing {
  readonly contentType: string;
  readonly before: string;
  readonly after: string;
}

const SSE_TYPE = "text/event-stream; charset=utf-8";

/** Server-sent events as most write them. */
export const SSE: Framing = { contentType: SSE_TYPE, before: "data: ", after: "\n\n" };
/** As TGI writes them. */
export const TIGHT_SSE: Framing = { contentType: SSE_TYPE, before: "data:", after: "\n\n" };
/** A JSON object a line. */
export const NDJSON: Framing = { contentType: "application/x-ndjson", before: "", after: "\n" };

/** Whether a reply of this type is sent as it comes. */
export function isStreamType(contentType: string): boolean {
  return [SSE, NDJSON].some((framing) => contentType.startsWith(framing.contentType.split(";", 1)[0]!));
}

export interface ReplyStreamOptions {
  readonly framing: Framing;
  /** The client has left, or stopped reading: whatever produces the frames has to stop at once. */
  readonly onCancel: () => void;
  /** The last frame of a stream that failed. */
  readonly errorFrame: (error: unknown) => Frame;
}

/**
 * A response that sends each frame as it comes and ends after the last. Frames are pulled only as fast as the client
 * reads. When they fail, the error becomes the last frame and the body ends normally.
 */
export function replyStream(frames: AsyncIterable<Frame>, options: ReplyStreamOptions): Response {
  const { framing, onCancel, errorFrame } = options;
  const iterator = frames[Symbol.asyncIterator]();
  let left = false;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const next = await iterator.next();
        if (left) return;
        if (next.done) controller.close();
        else controller.enqueue(encodeFrame(next.value, framing));
      } catch (error) {
        if (left) return;
        controller.enqueue(encodeFrame(errorFrame(error), framing));
        controller.close();
      }
    },
    cancel() {
      left = true;
      onCancel();
    },
  });
  return new Response(body, { headers: { "Content-Type": framing.contentType, ...STREAM_HEADERS } });
}

const STREAM_HEADERS = {
  // no-transform: a compressing hop would hold tokens back. X-Accel-Buffering says the same to nginx.
  "Cache-Control": "no-cache, no-transform",
  "X-Accel-Buffering": "no",
} as const;

const ENCODER = new TextEncoder();

function encodeFrame(frame: Frame, { before, after }: Framing): Uint8Array {
  const data = typeof frame === "string" ? frame : JSON.stringify(frame);
  return ENCODER.encode(`${before}${data}${after}`);
}
