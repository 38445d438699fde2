import test, { type ExecutionContext } from 'ava';
import type { Cluster, UserInfo } from '../../../kernel/contract/index.ts';
import type { CertificateSigningRequestCondition } from '../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { certificateRequest } from '../certificate-request.ts';
import { open, refusal } from './harness.ts';

const type = resources.certificateSigningRequests;
const client = 'kubernetes.io/kube-apiserver-client';
const usages = ['client auth'];
const person = (name: string, ...groups: string[]): UserInfo => ({ name, groups: [...groups, 'system:authenticated'] });
const admin = person('root', 'system:masters');

const ask = (cluster: Cluster, name: string, spec: object) =>
  cluster.create(type, { metadata: { name }, spec: { signerName: client, usages, ...spec } as never }, { user: admin });

const decide = (cluster: Cluster, name: string, conditions: object[], user: UserInfo, subresource = 'approval') =>
  cluster.patch(type, { name }, { kind: 'merge', body: { status: { conditions } } }, { subresource, user });

const approved = { type: 'Approved', status: 'True', reason: 'Test' };

test('a request whose body is no certificate request, or somebody else’s, is refused when it is made', async (t) => {
  const { cluster } = await open(t);
  const pem = Buffer.from(await certificateRequest('CN=a'), 'base64').toString();
  const said = async (text: string) =>
    (await refusal(t, ask(cluster, 'a', { request: Buffer.from(text).toString('base64') }), 'INVALID')).message;
  t.regex(await said('rubbish'), /spec\.request: .*: PEM block type must be CERTIFICATE REQUEST$/);
  t.regex(await said(pem.replaceAll('CERTIFICATE REQUEST', 'CERTIFICATE')), /must be CERTIFICATE REQUEST$/);
  t.regex(await said(pem.replaceAll('CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST')), /must be CERTIFICATE REQUEST$/);
  t.regex(await said(pem.replace(/-\n.{24}/, `-\n${'A'.repeat(24)}`)), /spec\.request: .*: x509: /);
  // One bit in the middle, of the key: well formed, but another's.
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  const at = der.length - 12;
  der[at] = der[at]! ^ 1;
  const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  t.regex(await said(forged), /x509: ECDSA verification failure$/);
  await ask(cluster, 'a', { request: Buffer.from(`before\n${pem}after\n`).toString('base64') });
});

test('usages and signer are checked in upstream’s words', async (t) => {
  const { cluster } = await open(t);
  const request = await certificateRequest('CN=a');
  const said = async (spec: object) =>
    (await refusal(t, ask(cluster, 'a', { request, ...spec }), 'INVALID')).message.replace(/^.* is invalid: /, '');
  t.is(await said({ usages: [] }), 'spec.usages: Required value');
  t.regex(
    await said({ usages: ['client auth', 'flying'] }),
    /^spec\.usages\[1\]: Unsupported value: "flying": supported values: "any", "cert sign", /,
  );
  t.is(await said({ usages: ['client auth', 'client auth'] }), 'spec.usages[1]: Duplicate value: "client auth"');
  t.regex(await said({ signerName: 'kubernetes.io/legacy-unknown' }), /the legacy signerName is not allowed/);
  t.regex(await said({ signerName: 'mine' }), /must be a fully qualified domain and path of the form/);
  t.regex(await said({ signerName: 'mine/one' }), /"mine": should be a domain with at least two segments/);
  t.regex(await said({ signerName: 'example.com/One' }), /"One": validating label "One": a lowercase RFC 1123/);
});

test('nobody asks for a certificate of system:masters, not even one of them', async (t) => {
  const { cluster } = await open(t);
  const request = await certificateRequest('CN=me, O=dev, O=system:masters');
  const { message } = await refusal(t, ask(cluster, 'a', { request }), 'FORBIDDEN');
  t.regex(message, /"a" is forbidden: use of kubernetes\.io\/kube-apiserver-client signer with system:masters group/);
  await ask(cluster, 'b', { request, signerName: 'example.com/own' });
  await ask(cluster, 'c', { request: await certificateRequest('CN=me, O=dev') });
});

/** A cluster where everybody may write requests and their parts, and some may act for a signer. */
async function openWithRoles(t: ExecutionContext) {
  const { cluster } = await open(t, { authorization: 'rbac' });
  const grant = async (user: string, verb: string, signer: string) => {
    const rules = [{ apiGroups: [type.group], resources: ['signers'], resourceNames: [signer], verbs: [verb] }];
    await cluster.create(resources.clusterRoles, { metadata: { name: user }, rules });
    const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: user };
    const subjects = [{ apiGroup: roleRef.apiGroup, kind: 'User', name: user }];
    await cluster.create(resources.clusterRoleBindings, { metadata: { name: user }, roleRef, subjects });
  };
  await ask(cluster, 'a', { request: await certificateRequest('CN=a') });
  return { cluster, grant };
}

test('who approves needs the verb on the signer, or on its domain', async (t) => {
  const { cluster, grant } = await openWithRoles(t);
  await grant('signs', 'sign', client);
  await grant('other', 'approve', 'example.com/*');
  await grant('approves', 'approve', client);
  await grant('domain', 'approve', 'kubernetes.io/*');
  for (const name of ['nobody', 'signs', 'other']) {
    const { message } = await refusal(t, decide(cluster, 'a', [approved], person(name)), 'FORBIDDEN');
    t.regex(
      message,
      /"a" is forbidden: user not permitted to approve requests with signerName "kubernetes\.io\/kube-ap/,
    );
  }
  await decide(cluster, 'a', [approved], person('approves'));
  const [condition] = (await cluster.get(type, { name: 'a' })).status?.conditions ?? [];
  t.truthy(Date.parse(condition?.lastUpdateTime ?? ''));
  t.truthy(Date.parse(condition?.lastTransitionTime ?? ''));
  await ask(cluster, 'b', { request: await certificateRequest('CN=b') });
  await decide(cluster, 'b', [{ ...approved, type: 'Denied' }], person('domain'));
});

test('who signs needs the verb too; a signer decides nothing, and what was decided or signed stays', async (t) => {
  const { cluster, grant } = await openWithRoles(t);
  await grant('signs', 'sign', client);
  const sign = (name: string, certificate: string) =>
    cluster.patch(
      type,
      { name: 'a' },
      { kind: 'merge', body: { status: { certificate: Buffer.from(certificate).toString('base64') } } },
      { subresource: 'status', user: person(name) },
    );
  await refusal(t, decide(cluster, 'a', [approved], person('signs'), 'status'), 'INVALID');
  const both = [approved, { ...approved, type: 'Denied' }];
  t.regex(
    (await refusal(t, decide(cluster, 'a', both, admin), 'INVALID')).message,
    /status\.conditions\[1\]\.type: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive/,
  );
  await decide(cluster, 'a', [approved], admin);
  t.regex(
    (await refusal(t, decide(cluster, 'a', [], admin), 'INVALID')).message,
    /status\.conditions: Forbidden: updates may not remove a condition of type "Approved"/,
  );
  t.regex(
    (await refusal(t, sign('nobody', 'x'), 'FORBIDDEN')).message,
    /user not permitted to sign requests with signerName/,
  );
  await sign('signs', 'x');
  t.regex(
    (await refusal(t, sign('signs', 'y'), 'INVALID')).message,
    /status\.certificate: Forbidden: updates may not modify existing certificate content/,
  );
  const failed: CertificateSigningRequestCondition = { type: 'Failed', status: 'True', reason: 'Test' };
  await decide(cluster, 'a', [approved, failed], person('signs'), 'status');
});
