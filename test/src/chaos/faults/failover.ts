import { setTimeout as sleep } from "node:timers/promises";
import { startLocalRedis } from "@rankfleet/local-redis";
import { connect } from "@rankfleet/queue";
import { Redis } from "ioredis";
import { aftermath } from "../aftermath.ts";
import { drive } from "../drive.ts";
import { judge, type Fault, type Scale } from "../fault.ts";
import { History, type FaultReport } from "../history.ts";
import { Proxy } from "../proxy.ts";
import { mixedRequestsOf, undisturbed, World } from "../world.ts";

const PASSWORD = "chaos";
const REPLICA_LAG_MS = 50;

/** Servers that know each other, where a client finds them, and which of them serves the model. */
interface Topology {
  readonly url: string;
  readonly servers: readonly { stop(): Promise<unknown> }[];
  masterPid(): Promise<number>;
}

export const sentinelFailover: Fault = {
  name: "sentinel-failover",
  what: "SIGKILL of the master that three Sentinels watch, its replica 50 ms behind",
  run(scale) {
    return failover(this.name, scale, startSentinels);
  },
};

export const clusterFailover: Fault = {
  name: "cluster-failover",
  what: "SIGKILL of the Cluster node that holds the model's slot",
  run(scale) {
    return failover(this.name, scale, startCluster);
  },
};

async function failover(
  fault: string,
  { isShort, say }: Scale,
  start: () => Promise<Topology>,
): Promise<FaultReport> {
  const requests = mixedRequestsOf(isShort ? 400 : 2_000, 50);
  const expected = await undisturbed(requests);
  // Its own Redis goes unused: the workers and the client are told of the others.
  const world = await World.start(0);
  const topology = await start();
  const history = new History(requests);
  let killed = 0;
  let killing = Promise.resolve();
  try {
    await Promise.all([1, 2].map(() => world.addWorker({ REDIS_URL: topology.url })));
    const client = world.fleet.client({ redis: topology.url });
    await drive(client, requests, history, {
      onDelivered: (delivered) => {
        if (killed > 0 || delivered < requests.length / 4) return;
        killed++;
        killing = topology.masterPid().then((pid) => {
          process.kill(pid, "SIGKILL");
          say(`master killed, ${delivered} of ${requests.length} jobs done`);
        });
      },
    });
    await killing;
    const redis = await connect(topology.url, "producer");
    const left = await aftermath(client, redis, history);
    redis.disconnect();
    return judge(fault, history, expected, {
      isShown: killed === 1 && left.length === 0,
      facts: { mastersKilled: killed, leftOver: left.join(" ") || 0 },
    });
  } finally {
    await world.stop();
    await Promise.all(topology.servers.map((server) => server.stop()));
  }
}

async function startSentinels(): Promise<Topology> {
  const settings = [`masterauth ${PASSWORD}`, "repl-diskless-sync-delay 0"];
  const master = await startLocalRedis({ password: PASSWORD, settings });
  // What the master had answered and not yet sent is lost with it, however fast this machine is.
  const delay = await Proxy.start(master.port);
  const replica = await startLocalRedis({
    password: PASSWORD,
    settings: [...settings, `replicaof 127.0.0.1 ${delay.port}`],
  });
  const sentinels = await Promise.all(
    [1, 2, 3].map(() =>
      startLocalRedis({
        isSentinel: true,
        settings: [
          `sentinel monitor main 127.0.0.1 ${master.port} 2`,
          `sentinel auth-pass main ${PASSWORD}`,
          "sentinel down-after-milliseconds main 1000",
          // Until then they let the replica have its master from another port.
          "sentinel failover-timeout main 120000",
        ],
      }),
    ),
  );
  const one = new Redis(sentinels[0]!.url);
  // Until the Sentinels know each other and the replica.
  await until(async () => {
    const [info] = (await one.call("SENTINEL", "MASTERS")) as string[][];
    const facts = new Map(pairsOf(info ?? []));
    return facts.get("num-slaves") === "1" && facts.get("num-other-sentinels") === "2";
  });
  one.disconnect();
  delay.latencyMs = REPLICA_LAG_MS;
  const hosts = sentinels.map(({ port }) => `127.0.0.1:${port}`).join(",");
  return {
    url: `redis-sentinel://:${PASSWORD}@${hosts}/0#main`,
    servers: [...sentinels, replica, master, delay],
    masterPid: async () => master.pid,
  };
}

const SLOTS = 16_384;

async function startCluster(): Promise<Topology> {
  const servers = await Promise.all(
    Array.from({ length: 6 }, () =>
      startLocalRedis({
        password: PASSWORD,
        settings: [
          `masterauth ${PASSWORD}`,
          "cluster-enabled yes",
          "cluster-node-timeout 2000",
          "repl-diskless-sync-delay 0",
        ],
      }),
    ),
  );
  const nodes = servers.map(({ url }) => new Redis(url));
  const masters = nodes.slice(0, 3);
  for (const [i, node] of masters.entries()) {
    const [from, to] = [Math.floor((i * SLOTS) / 3), Math.floor(((i + 1) * SLOTS) / 3) - 1];
    await node.call("CLUSTER", "ADDSLOTSRANGE", from, to);
    await node.call("CLUSTER", "SET-CONFIG-EPOCH", i + 1);
  }
  for (const { port } of servers.slice(1)) {
    await nodes[0]!.call("CLUSTER", "MEET", "127.0.0.1", port);
  }
  const knows = async (node: Redis, count: number): Promise<boolean> =>
    String(await node.call("CLUSTER", "NODES"))
      .trim()
      .split("\n").length === count;
  for (const node of nodes) await until(() => knows(node, 6));
  const ids = await Promise.all(
    nodes.map(async (node) => String(await node.call("CLUSTER", "MYID"))),
  );
  for (const i of [0, 1, 2]) await nodes[3 + i]!.call("CLUSTER", "REPLICATE", ids[i]!);
  for (const node of nodes) {
    await until(async () =>
      String(await node.call("CLUSTER", "INFO")).includes("cluster_state:ok"),
    );
  }
  for (const node of nodes.slice(3)) {
    await until(async () => (await node.info("replication")).includes("master_link_status:up"));
  }
  const slot = Number(await nodes[0]!.call("CLUSTER", "KEYSLOT", "rankfleet:{tiny}"));
  for (const node of nodes) node.disconnect();
  return {
    url: `redis-cluster://:${PASSWORD}@${servers.map(({ port }) => `127.0.0.1:${port}`).join(",")}`,
    servers,
    masterPid: async () => servers[Math.floor((slot * 3) / SLOTS)]!.pid,
  };
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const latest = performance.now() + 60_000;
  while (!(await isSo())) {
    if (performance.now() > latest) throw new Error(`the servers do not agree: ${String(isSo)}`);
    await sleep(50);
  }
}

function pairsOf(flat: readonly string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i]!, flat[2 * i + 1]!]);
}
