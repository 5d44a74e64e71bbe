/**
 * The version of everything that travels between SDK and worker. A worker takes the versions that it
 * knows; a change that an older worker would misread raises this number.
 */
export const PROTOCOL_VERSION = 1;
