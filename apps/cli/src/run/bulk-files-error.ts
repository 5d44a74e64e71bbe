/** What is wrong with the files of a bulk run, and what to do. */
export class BulkFilesError extends Error {
  override readonly name = "BulkFilesError";
  readonly code = "files";
}
