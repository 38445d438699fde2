/**
 * Who the nodes of a lab are to the API, and how they reach it: as nodes on machines of their own do, with a client
 * certificate each, over the network between them. Its gateway leads to the server (commands/lab-run.ts).
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClusterFacts } from '../../kernel/contract/index.ts';
import type { LabPlan } from '../../lab/index.ts';
import {
  certificatePaths,
  ensureCertificates,
  namesInCluster,
} from '../../plugins/components/api-server/pki/cluster-certificates.ts';
import type { ClusterFiles } from './cluster-files.ts';

/** The server renews them as its own config says. */
const lifetimeMs = 365 * 24 * 3600_000;

/** Makes all certificates of the cluster while the host is being checked: the server then finds them. */
export async function writeNodeIdentities(files: ClusterFiles, plan: LabPlan, cluster: ClusterFacts): Promise<void> {
  const nodes = plan.nodes.map(({ name }) => name);
  const stateDir = join(files.server, 'component', 'api-server');
  await ensureCertificates({ stateDir, nodes, extraNames: namesInCluster(cluster), lifetimeMs, now: Date.now });
  const paths = certificatePaths(stateDir);
  for (const node of plan.nodes) {
    const { certificate, key } = paths.ofNode(node.name);
    const name = 'pintle';
    const server = {
      server: `https://${plan.gateway}:${plan.apiPort}`,
      'certificate-authority': paths.authority,
      // The certificate has the names that the server knows itself by; the gateway is not one of them.
      'tls-server-name': 'kubernetes',
    };
    const kubeconfig = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name, cluster: server }],
      users: [{ name: node.name, user: { 'client-certificate': certificate, 'client-key': key } }],
      contexts: [{ name, context: { cluster: name, user: node.name } }],
      'current-context': name,
    };
    await mkdir(node.stateDir, { recursive: true, mode: 0o700 });
    // JSON is YAML.
    await writeFile(node.kubeconfig, `${JSON.stringify(kubeconfig, undefined, 2)}\n`, { mode: 0o600 });
  }
}
