import { Cluster, Redis, type RedisOptions } from "ioredis";

/**
 * Where Redis is: ioredis's options, or a URL.
 *
 *     redis://[[user]:password@]host[:port][/database]          one server
 *     rediss://…                                                the same over TLS
 *     redis-sentinel://[[user]:password@]host:port,…[/database]#name   the master that these Sentinels name
 *     redis-cluster://[[user]:password@]host:port,…             a Cluster, found through any of these nodes
 *
 * `?tls=true` makes the last two speak TLS. (The Sentinel form is Lettuce's.)
 */
export type RedisSource = string | RedisOptions;

/**
 * A connection that is not open yet. A Cluster takes every command that a single server does, so it goes by
 * the same type from here on; all keys of a model lie on one slot.
 *
 * @throws Error if the URL is of none of these forms.
 */
export function openRedis(source: RedisSource, options: ConnectOptions): Redis {
  if (typeof source !== "string") return new Redis({ ...source, ...options });
  const { scheme, username, password, hosts, database, name, isTls } = parseRedisUrl(source);
  if (scheme === "redis" || scheme === "rediss") return new Redis(source, options);
  const access = {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(isTls ? { tls: {} } : {}),
  };
  if (scheme === "redis-sentinel") {
    const sentinels = hosts.map(({ host, port }) => ({ host, port: port ?? 26_379 }));
    return new Redis({ ...access, sentinels, name: name!, db: database, ...options });
  }
  const { maxRetriesPerRequest = null, replyMapping, socketTimeout } = options;
  const cluster = new Cluster(
    hosts.map(({ host, port }) => ({ host, port: port ?? 6_379 })),
    {
      lazyConnect: true,
      // A failover takes some seconds, during which every node sends us to one that does not answer.
      maxRedirections: maxRetriesPerRequest === null ? Number.MAX_SAFE_INTEGER : FAILOVER_TRIES,
      retryDelayOnFailover: FAILOVER_DELAY_MS,
      retryDelayOnClusterDown: FAILOVER_DELAY_MS,
      retryDelayOnMoved: FAILOVER_DELAY_MS / 4,
      redisOptions: { ...access, maxRetriesPerRequest, replyMapping, socketTimeout },
    },
  );
  return cluster as unknown as Redis;
}

const FAILOVER_TRIES = 100;
const FAILOVER_DELAY_MS = 200;

type ConnectOptions = Pick<
  RedisOptions,
  "lazyConnect" | "maxRetriesPerRequest" | "reconnectOnError"
> & {
  readonly socketTimeout: number;
  readonly replyMapping: "legacy";
};

/** Whether a text is a URL that {@link openRedis} takes. */
export function isRedisUrl(text: string): boolean {
  try {
    parseRedisUrl(text);
    return true;
  } catch {
    return false;
  }
}

/** The same without its password, for people to read. */
export function nameRedis(source: RedisSource): string {
  if (typeof source !== "string") return `${source.host ?? "127.0.0.1"}:${source.port ?? 6379}`;
  return parseRedisUrl(source)
    .hosts.map(({ host, port }) => `${host}:${port ?? 6379}`)
    .join(",");
}

interface RedisUrl {
  readonly scheme: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly hosts: readonly { readonly host: string; readonly port: number | undefined }[];
  readonly database: number;
  /** Of the master, with Sentinel. */
  readonly name: string | undefined;
  readonly isTls: boolean;
}

const FORM =
  /^(rediss?|redis-sentinel|redis-cluster):\/\/(?:([^:@/]*)(?::([^@/]*))?@)?([^/?#@]+)(?:\/(\d*))?(\?[^#]*)?(?:#(.+))?$/u;

function parseRedisUrl(text: string): RedisUrl {
  const [, scheme = "", username, password, list = "", database, query, name] =
    FORM.exec(text) ?? [];
  const hosts = list.split(",").map((each) => {
    const [, host, port] = /^(\[[0-9a-f:]+\]|[^:]+)(?::(\d{1,5}))?$/iu.exec(each) ?? [];
    return {
      host: host?.replaceAll(/[[\]]/gu, ""),
      port: port === undefined ? undefined : Number(port),
    };
  });
  const isSingle = scheme === "redis" || scheme === "rediss";
  const isWhole =
    hosts.every(({ host }) => host !== undefined) &&
    (!isSingle || hosts.length === 1) &&
    (scheme === "redis-sentinel") === (name !== undefined);
  if (scheme === "" || !isWhole) {
    throw new Error(
      "expected redis://host:port, rediss://host:port, redis-sentinel://host:port,…#master or redis-cluster://host:port,…",
    );
  }
  return {
    scheme,
    username: username === undefined || username === "" ? undefined : decodeURIComponent(username),
    password: password === undefined ? undefined : decodeURIComponent(password),
    hosts: hosts as RedisUrl["hosts"],
    database: Number(database ?? 0),
    name,
    isTls: scheme === "rediss" || new URLSearchParams(query).get("tls") === "true",
  };
}
