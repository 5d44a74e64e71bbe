/**
 * The process's face to its orchestrator: `/healthz` (restart me if this fails), `/readyz` (send no
 * work while this fails) and `/metrics`. Nothing else, no authentication, no document text.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ListenError } from "./listen-error.ts";
import type { Log } from "./log.ts";

export interface HealthOptions {
  /** 0 takes any free port. */
  readonly port: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** How an error names the setting to change, e.g. `nameSetting(table.healthPort)`. */
  readonly setting?: string;
  /** The same of the host. */
  readonly hostSetting?: string;
  /** Why the process should be restarted; empty if it is well. */
  live(): Reasons;
  /** Why the process cannot take work now; empty if it can. */
  ready(): Reasons;
  /** Prometheus text. */
  metrics(): Promise<string>;
  readonly log: Pick<Log, "warn">;
}

export type Reasons = readonly string[] | Promise<readonly string[]>;

export interface HealthServer {
  readonly port: number;
  readonly url: string;
  close(): Promise<void>;
}

/** @throws ListenError if the port cannot be had. */
export async function startHealthServer(options: HealthOptions): Promise<HealthServer> {
  const {
    port,
    host = "127.0.0.1",
    setting = "the health port's setting",
    hostSetting = "the health host's setting",
  } = options;
  const server = createServer((request, response) => {
    respond(options, request).then(
      (reply) => send(response, reply, request.method === "HEAD"),
      (err: unknown) => {
        options.log.warn({ err, path: request.url }, "health request failed");
        send(response, json(500, { error: "internal" }), false);
      },
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(new ListenError({ port, host, setting, hostSetting }, cause)),
    );
    server.listen(port, host, resolve);
  });
  const bound = (server.address() as AddressInfo).port;
  return {
    port: bound,
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly allow?: string;
}

async function respond(options: HealthOptions, request: IncomingMessage): Promise<Reply> {
  const path = (request.url ?? "").split("?", 1)[0];
  const handler = routes[path ?? ""];
  if (handler === undefined) return json(404, { error: "not_found", paths: Object.keys(routes) });
  if (request.method !== "GET" && request.method !== "HEAD") {
    return { ...json(405, { error: "method_not_allowed" }), allow: "GET, HEAD" };
  }
  return handler(options);
}

const routes: Readonly<Record<string, (options: HealthOptions) => Promise<Reply>>> = {
  "/healthz": (options) => check(() => options.live()),
  "/readyz": (options) => check(() => options.ready()),
  "/metrics": async (options) => ({
    status: 200,
    type: "text/plain; version=0.0.4; charset=utf-8",
    body: await options.metrics(),
  }),
};

// A check that breaks is an answer too: the orchestrator must not read it as "well".
async function check(reasonsOf: () => Reasons): Promise<Reply> {
  try {
    const reasons = await reasonsOf();
    return reasons.length === 0
      ? json(200, { status: "ok" })
      : json(503, { status: "unavailable", reasons });
  } catch (err) {
    return json(503, { status: "unavailable", reasons: [`check failed: ${String(err)}`] });
  }
}

function json(status: number, body: object): Reply {
  return { status, type: "application/json", body: `${JSON.stringify(body)}\n` };
}

function send(response: ServerResponse, reply: Reply, isHead: boolean): void {
  response.writeHead(reply.status, {
    "content-type": reply.type,
    "content-length": Buffer.byteLength(reply.body),
    "cache-control": "no-store",
    ...(reply.allow !== undefined && { allow: reply.allow }),
  });
  response.end(isHead ? undefined : reply.body);
}
