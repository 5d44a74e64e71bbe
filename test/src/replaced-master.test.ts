import { connect, createServer, type AddressInfo, type Server } from "node:net";
import { startLocalRedis } from "@rankfleet/local-redis";
import { Redis } from "ioredis";
import { afterEach, expect, test } from "vitest";
import { TestFleet } from "./support/fleet.ts";
import { requests } from "./support/texts.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

/** One address for whichever server is the master, as a cloud's: who is connected stays where he is. */
async function startAddress(target: { port: number }): Promise<Server> {
  const server = createServer((client) => {
    const redis = connect(target.port, "127.0.0.1");
    client.pipe(redis).pipe(client);
    for (const socket of [client, redis]) socket.on("error", () => socket.destroy());
    client.on("close", () => redis.destroy());
    redis.on("close", () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ends.push(() => void server.close());
  return server;
}

test("who is connected to a master that becomes a replica goes over to the new one", async () => {
  const fleet = await TestFleet.start();
  ends.push(() => fleet.stop());
  const { port, password } = fleet.redisServer;
  const other = await startLocalRedis({
    password,
    settings: [`replicaof 127.0.0.1 ${port}`, `masterauth ${password}`],
  });
  const next = new Redis(other.url);
  ends.push(async () => {
    next.disconnect();
    await other.stop();
  });
  const target = { port };
  const address = (await startAddress(target)).address() as AddressInfo;
  const url = `redis://:${password}@127.0.0.1:${address.port}`;
  await fleet.worker({ REDIS_URL: url });
  const client = fleet.client({ redis: url });
  const [first, second] = requests(2, 3);
  await client.rerank(first!);

  await expect.poll(async () => next.info("replication")).toContain("master_link_status:up");
  await next.replicaof("NO", "ONE");
  target.port = other.port;
  await fleet.redis.config("SET", "masterauth", password);
  await fleet.redis.replicaof("127.0.0.1", other.port);
  const again = async (): Promise<number> => {
    const result = await client.rerank(second!, { signal: AbortSignal.timeout(5_000) });
    return result.results.length;
  };
  await expect.poll(() => again().catch(String), { timeout: 20_000 }).toBe(3);
}, 40_000);
