import { RerankClient } from "@rankfleet/sdk";

const client = new RerankClient({ redis: process.env.REDIS_URL });
const { results } = await client.rerank({
  query: "which houseplants do not mind dry soil",
  documents: [
    "Ferns and peace lilies droop as soon as their soil dries out.",
    "A snake plant stores water in its leaves; let the soil dry completely between waterings.",
    "Our shop sells pots and garden tools.",
  ],
  returnDocuments: true,
});
for (const { score, document } of results) console.log(score.toFixed(3), document);
await client.close();
