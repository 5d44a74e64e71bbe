/**
 * `text` with the credentials of every URL in it hidden: `redis://app:secret@host` becomes
 * `redis://app:***@host`. Credentials without a colon may be a bare token, so they go entirely.
 */
export function redactUrl(text: string): string {
  return text.includes("@") ? text.replace(CREDENTIALS, hide) : text;
}

// Anchored on "://" and stopped by whatever ends an authority, so a megabyte of text costs one
// pass. Greedy up to the last "@", as the URL standard reads an unescaped "@" inside a password.
const CREDENTIALS = /:\/\/([^\s/?#"'<>]*)@/g;

function hide(_match: string, credentials: string): string {
  const colon = credentials.indexOf(":");
  return colon < 0 ? "://***@" : `://${credentials.slice(0, colon)}:***@`;
}
