import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** A TCP proxy in front of Redis that can be slow, lose connections, or be cut. */
export class Proxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Added to everything, each way, in milliseconds. */
  latencyMs = 0;
  /** Chance that a chunk resets its connection instead of arriving, 0 … 1. */
  resets = 0;
  resetCount = 0;
  #isCut = false;

  private constructor(target: number) {
    this.#server = createServer((client) => {
      if (this.#isCut) return client.resetAndDestroy();
      const redis = connect(target, "127.0.0.1");
      this.#pass(client, redis);
      this.#pass(redis, client);
    });
  }

  static async start(target: number): Promise<Proxy> {
    const proxy = new Proxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Ends every connection and lets none in, until `mend`. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(): void {
    this.#isCut = false;
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #pass(from: Socket, to: Socket): void {
    from.setNoDelay(true);
    this.#sockets.add(from);
    let arrived = Promise.resolve();
    from.on("error", () => to.destroy());
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
    from.on("data", (chunk: Buffer) => {
      if (Math.random() < this.resets) {
        this.resetCount++;
        from.resetAndDestroy();
        return;
      }
      const arrives = sleep(this.latencyMs);
      // Bytes stay in order, also when it gets faster meanwhile.
      arrived = arrived.then(() => arrives).then(() => void (to.writable && to.write(chunk)));
    });
  }
}
