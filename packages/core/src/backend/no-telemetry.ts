/**
 * Official Linux builds of ONNX Runtime since 1.29 send events about models to Microsoft unless this is set.
 * Nobody who starts a worker has asked for that. The library reads the environment of the process, of which a
 * thread has only a copy: so this is imported where inference threads are started, too.
 */
process.env["ORT_DISABLE_TELEMETRY"] ??= "1";
