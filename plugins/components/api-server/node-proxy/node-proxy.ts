/**
 * /api/v1/nodes/NAME/proxy/...: what monitoring asks a node's agent. The agent has no port of its own, so that what it says
 * comes through its tunnel, and only these paths are there.
 */
import {
  PintleError,
  type Cluster,
  type ClusterServer,
  type NetworkQuestion,
  type NodeService,
} from '../../../../kernel/contract/index.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { send, type Exchange } from '../http-exchange.ts';
import { noSuchPath } from '../status.ts';
import { resourceExposition } from './resource-exposition.ts';
import { statsSummary } from './stats-summary.ts';

const patienceMs = 30_000;
const prometheusType = 'text/plain; version=0.0.4; charset=utf-8';

/** The node and the path behind `proxy`; undefined for other paths. A port and a scheme around the name are left out. */
export function nodeProxyTarget(
  segments: readonly string[],
): { readonly node: string; readonly path: string } | undefined {
  const [api, version, nodes, name, proxy, ...rest] = segments;
  if (api !== 'api' || version !== 'v1' || nodes !== 'nodes' || proxy !== 'proxy' || name === undefined)
    return undefined;
  const node = /^(?:https?:)?([^:]+)(?::\d+)?$/.exec(name)?.[1] ?? name;
  return { node, path: rest.join('/') };
}

export async function answerNodeProxy(
  exchange: Exchange,
  target: { readonly node: string; readonly path: string },
  context: { readonly cluster: Cluster; readonly server: ClusterServer },
): Promise<void> {
  const { user, signal } = exchange;
  await context.cluster.get(resources.nodes, { name: target.node }, { user });
  const answer = await answerOf(
    target.path,
    exchange.query,
    context.server.node(target.node),
    AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]),
  );
  await send(exchange, { status: 200, ...answer });
}

async function answerOf(
  path: string,
  query: URLSearchParams,
  node: NodeService,
  signal: AbortSignal,
): Promise<{ readonly body: Buffer; readonly contentType: string }> {
  try {
    switch (path) {
      case 'metrics':
        return { body: Buffer.from(await node.metrics(signal)), contentType: prometheusType };
      case 'metrics/resource':
        return { body: Buffer.from(resourceExposition(await node.stats(signal))), contentType: prometheusType };
      case 'stats/summary':
        return {
          body: Buffer.from(`${JSON.stringify(statsSummary(await node.stats(signal)), undefined, 1)}\n`),
          contentType: 'application/json',
        };
      case 'network':
        return {
          body: Buffer.from(JSON.stringify(await node.network(questionOf(query), signal))),
          contentType: 'application/json',
        };
      case 'healthz':
        // It answers: that is all that this path says of a kubelet too.
        await node.metrics(signal);
        return { body: Buffer.from('ok'), contentType: 'text/plain; charset=utf-8' };
      default:
        throw noSuchPath();
    }
  } catch (error) {
    if (signal.aborted) throw new PintleError('TIMEOUT', `the node did not answer within ${patienceMs / 1000} s`);
    throw error;
  }
}

/** `?question=` and the JSON of a NetworkQuestion; the node looks at what is in it. */
function questionOf(query: URLSearchParams): NetworkQuestion {
  try {
    return JSON.parse(query.get('question') ?? '') as NetworkQuestion;
  } catch (cause) {
    throw new PintleError('BAD_REQUEST', 'the query has no question: expected ?question= and its JSON', { cause });
  }
}
