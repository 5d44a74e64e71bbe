import { Command } from "commander";
import { describe, expect, expectTypeOf, test } from "vitest";
import { z } from "zod";
import { list, oneOf, port, text, wholeNumber, yesOrNo } from "./setting-schemas.ts";
import { SettingsError } from "./settings-error.ts";
import { addSettingsOptions, settingsTable } from "./settings-options.ts";
import {
  defineSettings,
  type FlagValue,
  hideSecret,
  nameSetting,
  readSettings,
} from "./settings.ts";

const redisUrl = z
  .string()
  .regex(/^rediss?:/u)
  .describe("a URL like redis://… or rediss://…");
const table = defineSettings({
  redis: {
    flag: "--redis <url>",
    env: "REDIS_URL",
    parse: redisUrl,
    default: "redis://:standard@127.0.0.1:6379",
    help: "Where the queue is.",
    secret: true,
  },
  models: {
    flag: "--model <folder>",
    env: "RANKFLEET_MODEL",
    parse: list(text("a model folder")),
    help: "A model to serve.",
    many: true,
  },
  healthPort: {
    flag: "--health-port <number>",
    env: "HEALTH_PORT",
    parse: port(),
    default: 8080,
    help: "Port of the health server.",
  },
  threads: {
    flag: "--threads <number>",
    env: "RANKFLEET_THREADS",
    parse: wholeNumber({ min: 1 }).optional().describe("a whole number of at least 1"),
    defaultText: "number of cores",
    help: "Threads for the model.",
  },
  level: {
    flag: "--log-level <level>",
    env: "LOG_LEVEL",
    parse: oneOf(["debug", "info"]),
    default: "info",
    help: "What to log.",
  },
  pretty: {
    flag: "--pretty",
    env: "LOG_PRETTY",
    parse: yesOrNo(),
    default: false,
    help: "Readable | coloured logs.",
  },
});

const read = (flags: Record<string, FlagValue>, env: Record<string, string> = {}) =>
  readSettings(table, { flags: { model: ["m"], ...flags }, env });

describe("reading", () => {
  test("values have their schemas' types", () => {
    const settings = read({});
    expectTypeOf(settings.healthPort).toEqualTypeOf<number>();
    expectTypeOf(settings.models).toEqualTypeOf<string[]>();
    expectTypeOf(settings.threads).toEqualTypeOf<number | undefined>();
    expectTypeOf(settings.level).toEqualTypeOf<"debug" | "info">();
    expect(settings).toEqual({
      redis: "redis://:standard@127.0.0.1:6379",
      models: ["m"],
      healthPort: 8080,
      threads: undefined,
      level: "info",
      pretty: false,
    });
  });

  test("flag wins over variable wins over default", () => {
    expect(read({}).healthPort).toBe(8080);
    expect(read({}, { HEALTH_PORT: "1" }).healthPort).toBe(1);
    expect(read({ healthPort: "2" }, { HEALTH_PORT: "1" }).healthPort).toBe(2);
  });

  test("an empty variable counts as unset", () => {
    expect(read({}, { HEALTH_PORT: "", LOG_LEVEL: "  " })).toMatchObject({
      healthPort: 8080,
      level: "info",
    });
  });

  test("several values come from a repeated flag or a comma-separated variable", () => {
    expect(read({ model: ["a", "b"] }).models).toEqual(["a", "b"]);
    expect(read({ model: undefined }, { RANKFLEET_MODEL: "a, b,," }).models).toEqual(["a", "b"]);
  });

  test.each([
    ["true", true],
    ["YES", true],
    ["0", false],
    ["off", false],
  ])("a switch's variable reads %s as %s", (word, isOn) => {
    expect(read({}, { LOG_PRETTY: word }).pretty).toBe(isOn);
    expect(read({ pretty: true }, { LOG_PRETTY: word }).pretty).toBe(true);
  });
});

describe("problems", () => {
  test("all are listed at once, each with flag, variable, value seen and what is allowed", () => {
    const thrown = catchError(() =>
      readSettings(table, {
        flags: { healthPort: "70000", redis: "http://me:hush@host" },
        env: { LOG_LEVEL: "loud", LOG_PRETTY: "maybe", RANKFLEET_THREADS: "1e3" },
      }),
    );
    expect(thrown).toBeInstanceOf(SettingsError);
    expect(thrown.code).toBe("invalid_settings");
    expect(thrown.message).toBe(
      [
        "6 settings cannot be used:",
        '  --redis <url> or REDIS_URL: the flag says "http://me:***@host"; expected a URL like redis://… or rediss://…',
        "  --model <folder> or RANKFLEET_MODEL: it is required; expected a model folder",
        '  --health-port <number> or HEALTH_PORT: the flag says "70000"; expected a port, 0 to 65535 (0: any free one)',
        '  --threads <number> or RANKFLEET_THREADS: the variable says "1e3"; expected a whole number of at least 1',
        '  --log-level <level> or LOG_LEVEL: the variable says "loud"; expected one of debug, info',
        '  --pretty or LOG_PRETTY: the variable says "maybe"; expected true or false',
      ].join("\n"),
    );
  });

  test("a wrong item of several is the one that is shown", () => {
    const thrown = catchError(() => read({ model: ["good", ""] }));
    expect(thrown.problems).toEqual([
      {
        flag: "--model <folder>",
        env: "RANKFLEET_MODEL",
        source: "flag",
        seen: "",
        expected: "a model folder",
      },
    ]);
  });

  test.each(["", " ", "0x10", "1.5", "65536", "-1", "99999999999999999999"])(
    "%j is not a port",
    (value) => {
      expect(() => read({ healthPort: value })).toThrow(SettingsError);
    },
  );
});

describe("commander", () => {
  const parse = (...argv: string[]): Record<string, unknown> => {
    const command = new Command();
    addSettingsOptions(command, table);
    return command.parse(argv, { from: "user" }).opts();
  };

  test("opts() holds only what was typed", () => {
    expect(parse()).toEqual({});
    expect(parse("--model", "a", "--health-port", "1", "--model", "b", "--pretty")).toEqual({
      model: ["a", "b"],
      healthPort: "1",
      pretty: true,
    });
  });

  test("help shows variable and default, and no password", () => {
    const command = new Command().configureHelp({ helpWidth: 200 });
    addSettingsOptions(command, table);
    const help = command.helpInformation();
    expect(help).toContain("Where the queue is. (env: REDIS_URL; default: redis://:***@127.0.0.1");
    expect(help).toContain("A model to serve. (repeatable; env: RANKFLEET_MODEL; required)");
    expect(help).toContain("(env: RANKFLEET_THREADS; default: number of cores)");
  });
});

test("the documentation's table has a row for each setting", () => {
  const lines = settingsTable(table).trimEnd().split("\n");
  expect(lines).toHaveLength(2 + Object.keys(table).length);
  expect(lines[2]).toBe(
    "| `--redis <url>` | `REDIS_URL` | redis://:***@127.0.0.1:6379 | a URL like redis://… or rediss://… | Where the queue is. |",
  );
  expect(lines[3]).toContain("| required |");
  expect(lines.at(-1)).toContain("Readable \\| coloured logs.");
});

test("messages name a setting by flag and variable", () => {
  expect(nameSetting(table.healthPort)).toBe("--health-port <number> or HEALTH_PORT");
});

function catchError(action: () => unknown): SettingsError {
  try {
    action();
  } catch (error) {
    return error as SettingsError;
  }
  throw new Error("nothing was thrown");
}

test.each([
  ["redis://:q8/Zk+1=@queue:6379", "redis://:***@queue:6379"],
  ["redis://app:a#b?c'd@queue", "redis://app:***@queue"],
  ["redis://token@queue", "redis://***@queue"],
  ["redis://queue:6379/0", "redis://queue:6379/0"],
  ["hunter2", "***"],
])("of the secret %s people see %s", (value, shown) => {
  expect(hideSecret(value)).toBe(shown);
});
