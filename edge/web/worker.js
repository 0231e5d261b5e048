// A host in a worker: calls come as {id, method, argument}, answers go as {id, result | error | progress}.
import { Host } from "./host.js";

const host = new Host();

onmessage = async ({ data: { id, method, argument }, ports: [port] }) => {
  try {
    const result = await host[method]({ ...argument, port }, (progress) => postMessage({ id, progress }));
    postMessage({ id, result }, buffers(result));
  } catch (error) {
    postMessage({ id, error: error.message ?? String(error) });
  }
};

// The samples of an answer are handed over, not copied.
function buffers(result) {
  if (result instanceof Float32Array) return [result.buffer];
  if (Array.isArray(result)) return [...new Set(result.flatMap(buffers))];
  if (result && typeof result === "object" && Object.values(result).every(Array.isArray))
    return [...new Set(Object.values(result).flatMap(buffers))];
  return [];
}
