// Server-sent events: framing, back-pressure and the client that leaves, in one place. Knows no dialect: a frame is an
// object to be sent as JSON, or a bare string such as "[DONE]".

export type Frame = object | string;

export interface EventStreamOptions {
  /** The client has left, or stopped reading: whatever produces the frames has to stop at once. */
  readonly onCancel: () => void;
  /** The last frame of a stream that failed. */
  readonly errorFrame: (error: unknown) => Frame;
}

/**
 * A response that sends each frame as it comes (`data: {json}`, blank line) and ends after the last. Frames are pulled
 * only as fast as the client reads. When they fail, the error becomes the last frame and the body ends normally.
 */
export function eventStream(frames: AsyncIterable<Frame>, options: EventStreamOptions): Response {
  const iterator = frames[Symbol.asyncIterator]();
  let left = false;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const next = await iterator.next();
        if (left) return;
        if (next.done) controller.close();
        else controller.enqueue(encodeFrame(next.value));
      } catch (error) {
        if (left) return;
        controller.enqueue(encodeFrame(options.errorFrame(error)));
        controller.close();
      }
    },
    cancel() {
      left = true;
      options.onCancel();
    },
  });
  return new Response(body, { headers: { ...STREAM_HEADERS } });
}

const STREAM_HEADERS = {
  "Content-Type": "text/event-stream; charset=utf-8",
  // no-transform: a compressing hop would hold tokens back. X-Accel-Buffering says the same to nginx.
  "Cache-Control": "no-cache, no-transform",
  "X-Accel-Buffering": "no",
} as const;

const ENCODER = new TextEncoder();

function encodeFrame(frame: Frame): Uint8Array {
  const data = typeof frame === "string" ? frame : JSON.stringify(frame);
  return ENCODER.encode(`data: ${data}\n\n`);
}
