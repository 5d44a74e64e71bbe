export type ListenErrorCode =
  | "port_in_use"
  | "port_forbidden"
  | "host_unavailable"
  | "listen_failed";

/** A server could not take its address; the message names the setting to change. */
export class ListenError extends Error {
  override readonly name: string = "ListenError";
  readonly code: ListenErrorCode;

  constructor(
    address: { port: number; host: string; setting: string; hostSetting: string },
    cause: unknown,
  ) {
    const system = systemCode(cause);
    const { code, reason } = REASONS[system] ?? { code: "listen_failed", reason: system };
    const setting = code === "host_unavailable" ? address.hostSetting : address.setting;
    super(
      `cannot listen on ${address.host}:${address.port}: ${reason}; choose another with ${setting}`,
      { cause },
    );
    this.code = code;
  }
}

const REASONS: Readonly<Record<string, { code: ListenErrorCode; reason: string }>> = {
  EADDRINUSE: { code: "port_in_use", reason: "another process has that port" },
  EACCES: { code: "port_forbidden", reason: "ports below 1024 need special rights" },
  EADDRNOTAVAIL: { code: "host_unavailable", reason: "this machine has no such address" },
  ENOTFOUND: { code: "host_unavailable", reason: "that host name has no address" },
};

function systemCode(cause: unknown): string {
  return cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
}
