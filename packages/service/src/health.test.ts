import { connect } from "node:net";
import { afterEach, expect, test } from "vitest";
import { type HealthOptions, type HealthServer, startHealthServer } from "./health.ts";
import { ListenError } from "./listen-error.ts";

const servers: HealthServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function start(options: Partial<HealthOptions> = {}): Promise<HealthServer> {
  const server = await startHealthServer({
    port: 0,
    live: () => [],
    ready: () => [],
    metrics: async () => "up 1\n",
    log: { warn: () => {} },
    ...options,
  });
  servers.push(server);
  return server;
}

test.each([
  ["/healthz", 200, '{"status":"ok"}\n'],
  ["/readyz?verbose", 503, '{"status":"unavailable","reasons":["model is loading"]}\n'],
  ["/metrics", 200, "up 1\n"],
  ["/", 404, '{"error":"not_found","paths":["/healthz","/readyz","/metrics"]}\n'],
  ["/constructor", 404, '{"error":"not_found","paths":["/healthz","/readyz","/metrics"]}\n'],
])("GET %s answers %i", async (path, status, body) => {
  const { url } = await start({ ready: async () => ["model is loading"] });
  const response = await fetch(url + path);
  expect(response.status).toBe(status);
  expect(await response.text()).toBe(body);
});

test("the metrics are Prometheus's type, the rest is JSON", async () => {
  const { url } = await start();
  const type = async (path: string): Promise<string | null> =>
    (await fetch(url + path)).headers.get("content-type");
  expect(await type("/metrics")).toBe("text/plain; version=0.0.4; charset=utf-8");
  expect(await type("/healthz")).toBe("application/json");
});

test("HEAD answers like GET without a body; other methods are refused", async () => {
  const { url } = await start();
  const head = await fetch(`${url}/metrics`, { method: "HEAD" });
  expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([
    200,
    "5",
    "",
  ]);
  const post = await fetch(`${url}/healthz`, { method: "POST", body: "x" });
  expect([post.status, post.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
});

test("a check that throws counts as unwell; metrics that throw answer 500 and are logged", async () => {
  const warnings: unknown[] = [];
  const { url } = await start({
    live: () => {
      throw new Error("no idea");
    },
    metrics: () => Promise.reject(new Error("no metrics")),
    log: { warn: (entry: unknown) => void warnings.push(entry) },
  });
  const health = await fetch(`${url}/healthz`);
  expect([health.status, await health.json()]).toEqual([
    503,
    { status: "unavailable", reasons: ["check failed: Error: no idea"] },
  ]);
  expect((await fetch(`${url}/metrics`)).status).toBe(500);
  expect(warnings).toHaveLength(1);
});

test("a port in use is an error that names the setting", async () => {
  const { port } = await start();
  const second = start({ port, setting: "--health-port <number> or HEALTH_PORT" });
  await expect(second).rejects.toBeInstanceOf(ListenError);
  await expect(second).rejects.toMatchObject({
    code: "port_in_use",
    message: `cannot listen on 127.0.0.1:${port}: another process has that port; choose another with --health-port <number> or HEALTH_PORT`,
    cause: { code: "EADDRINUSE" },
  });
});

test("an address that the machine has not is an error of its own", async () => {
  const started = start({ host: "192.0.2.1", hostSetting: "--host <address> or HOST" });
  await expect(started).rejects.toMatchObject({
    code: "host_unavailable",
    message: expect.stringContaining("another with --host <address> or HOST") as string,
  });
});

test("close does not wait for a client that sends nothing", async () => {
  const server = await start();
  const client = connect(server.port, "127.0.0.1");
  await new Promise((resolve) => client.once("connect", resolve));
  client.on("error", () => {});
  await servers.pop()?.close();
  await expect(fetch(server.url)).rejects.toThrow();
});
