import { readSettings } from "@rankfleet/service";
import { expect, test } from "vitest";
import { workerSettings } from "./settings.ts";

const modelsOf = (specs: string): unknown =>
  readSettings(workerSettings, { flags: {}, env: { RANKFLEET_MODEL: specs } }).model;

test("a model is box, a folder, or a name for a folder, which may have an = of its own", () => {
  expect(modelsOf("box,/models/bge,new=/models/v=2/bge,org/bge=/models/bge")).toEqual([
    { id: "box" },
    { id: "bge", folder: "/models/bge" },
    { id: "new", folder: "/models/v=2/bge" },
    { id: "org/bge", folder: "/models/bge" },
  ]);
  expect(() => modelsOf("box,box=/models/bge")).toThrow("each name once");
  expect(() => modelsOf("bge=")).toThrow("name=folder");
  expect(() => modelsOf("=/models/bge")).toThrow("name=folder");
});
