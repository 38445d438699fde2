/** The API of a kubeconfig, for programs that are no plugin: one connection pool, closed by its dispose. */
import { PintleError, type Cluster } from '../../../kernel/contract/index.ts';
import { readEndpoint } from './endpoint.ts';
import { createHttpClient } from './http-client.ts';
import { remoteCluster } from './remote-cluster.ts';

export interface Connection {
  readonly cluster: Cluster;
  /** "https://127.0.0.1:6443" */
  readonly url: string;
  /** GET of a path that is no resource: a log, what a node answers. */
  text(path: string): Promise<string>;
  close(): void;
}

export async function connect(kubeconfig: string, context?: string): Promise<Connection> {
  const endpoint = await readEndpoint({ kubeconfig, context });
  const client = createHttpClient({ endpoint: async () => endpoint, maxConnections: 4, callTimeoutMs: 60_000 });
  const refuse = async () => {
    throw new PintleError('UNSUPPORTED', 'this connection is a client of the API only; a node is served by its agent');
  };
  return {
    cluster: remoteCluster(client, refuse),
    url: endpoint.url,
    async text(path) {
      const answer = await client.stream({ method: 'GET', path, headers: { accept: '*/*' } });
      const chunks: Buffer[] = [];
      for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
      return Buffer.concat(chunks).toString('utf8');
    },
    close: () => client.close(),
  };
}
