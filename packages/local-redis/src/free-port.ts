import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * Below the ports that a system gives to outgoing connections (32,768 and up with Linux, 49,152 elsewhere), and so is
 * the port 10,000 higher on which nodes of a Cluster talk. Those come and go: one could take the port between our look and
 * the server's start, or while a server that is to come back is away.
 */
const PORTS = { from: 10_000, to: 22_000 } as const;

/** A port of loopback that nobody listens on now. @throws What `listen` says, other than that it is in use. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORTS.from, PORTS.to);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve, reject) => {
      server.once("error", (cause: NodeJS.ErrnoException) => {
        if (cause.code === "EADDRINUSE") resolve(false);
        else reject(cause);
      });
      server.listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
