// The language server's connection over a pair of streams. Ends with its input: an editor that has gone leaves no process
// behind. (The library's own way asks the system every three seconds whether the editor lives, which needs Deno's
// permission to run programs.)
import { type Connection, createConnection, ProposedFeatures, type WatchDog } from "vscode-languageserver";
import { createProtocolConnection } from "vscode-languageserver/node";

export interface StreamConnection {
  readonly connection: Connection;
  /** Resolves with the exit code that the protocol wants: 0 after `shutdown`, else 1. */
  readonly ended: Promise<number>;
}

export function connectStreams(
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
): StreamConnection {
  const ended = Promise.withResolvers<number>();
  const watchDog: WatchDog = {
    shutdownReceived: false,
    initialize: () => {},
    exit: ended.resolve,
  };
  for (const end of ["end", "close"]) input.on(end, () => ended.resolve(watchDog.shutdownReceived ? 0 : 1));
  const connection = createConnection(
    (logger) => createProtocolConnection(input, output, logger),
    watchDog,
    ProposedFeatures.all,
  );
  return { connection, ended: ended.promise };
}
