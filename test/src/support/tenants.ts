import type { RerankRequest } from "@rankfleet/sdk";
import { requests } from "./texts.ts";

/** Requests of a tenant for the model `sim`. */
export function ofTenant(tenant: string, count: number, documents: number): RerankRequest[] {
  return requests(count, documents).map((request, i) => ({
    ...request,
    query: `${tenant} asks ${i}`,
    model: "sim",
    tenant,
  }));
}
