/** A question to a node's agent, through the API server. */
import type { NetworkAnswers, NetworkQuestion } from '../../kernel/contract/index.ts';
import type { Connection } from '../../plugins/clusters/remote/connect.ts';

export async function askNode<Q extends NetworkQuestion>(
  connection: Connection,
  node: string,
  question: Q,
): Promise<NetworkAnswers[Q['ask']]> {
  const query = new URLSearchParams({ question: JSON.stringify(question) });
  const text = await connection.text(`/api/v1/nodes/${encodeURIComponent(node)}/proxy/network?${query.toString()}`);
  return JSON.parse(text) as NetworkAnswers[Q['ask']];
}
