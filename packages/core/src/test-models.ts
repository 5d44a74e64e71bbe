import { fileURLToPath } from "node:url";

/** Real models for tests: the one in the box, and a tiny random one of XLM-RoBERTa's layout. */
export const boxFolder: string = fileURLToPath(new URL("../../../models/box", import.meta.url));
export const xlmRobertaFolder: string = fileURLToPath(
  new URL("../../../test/fixtures/tiny-xlm-r", import.meta.url),
);
