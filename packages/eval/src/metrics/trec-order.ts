/** One document of a ranking, before or after reranking. */
export interface ScoredDocument {
  readonly id: string;
  readonly score: number;
}

/**
 * A ranking in the order in which trec_eval judges it: by score, and by id downwards where scores
 * are equal (`comp_sim_docno` in form_res_rels.c, which compares bytes). The order given is
 * ignored, as trec_eval ignores the rank column; so a system cannot gain from the order of its
 * ties.
 *
 * @throws RangeError for a document that is ranked twice, as trec_eval refuses it, or a score of
 * NaN.
 */
export function trecOrder<Ranked extends ScoredDocument>(ranking: readonly Ranked[]): Ranked[] {
  const seen = new Set<string>();
  for (const { id, score } of ranking) {
    if (seen.has(id)) throw new RangeError(`document "${id}" is ranked twice`);
    if (Number.isNaN(score)) throw new RangeError(`document "${id}" has the score NaN`);
    seen.add(id);
  }
  return ranking.toSorted(byTrecOrder);
}

/** Compares two documents of a ranking, the better one first. */
export function byTrecOrder(a: ScoredDocument, b: ScoredDocument): number {
  return b.score - a.score || compareBytes(b.id, a.id);
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
