import 'reflect-metadata';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import test, { type ExecutionContext } from 'ava';
import type { Cluster } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { issueAuthority } from '../../../plugins/components/api-server/pki/issue-certificate.ts';
import certificateSigning from '../../../plugins/controllers/certificate-signing/index.ts';
import {
  isSigner,
  refusal,
  type RequestedCertificate,
  type Signer,
} from '../../../plugins/controllers/certificate-signing/signer-rules.ts';
import { certificateRequest } from '../certificate-request.ts';
import { eventually, find, openControlPlane, quiescence } from './control-plane.ts';

const dayMs = 24 * 3600_000;

async function open(t: ExecutionContext, config: object = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'pintle-signing-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const authority = await issueAuthority('test', 30 * dayMs, Date.now());
  const files = { certFile: join(folder, 'ca.crt'), keyFile: join(folder, 'ca.key') };
  await writeFile(files.certFile, authority.certificate);
  await writeFile(files.keyFile, authority.key, { mode: 0o600 });
  const { cluster, controller } = await openControlPlane(t);
  await controller(certificateSigning, { ...files, ...config });
  return { cluster, root: new X509Certificate(authority.certificate) };
}

const approval = { type: 'Approved', status: 'True', reason: 'Test' };

async function ask(
  cluster: Cluster,
  name: string,
  spec: { request: string; signerName: string; usages: string[]; expirationSeconds?: number },
): Promise<void> {
  await cluster.create(resources.certificateSigningRequests, { metadata: { name }, spec });
}

const approve = (cluster: Cluster, name: string) =>
  cluster.patch(
    resources.certificateSigningRequests,
    { name },
    { kind: 'merge', body: { status: { conditions: [approval] } } },
    { subresource: 'approval' },
  );

const issued = (cluster: Cluster, name: string) =>
  eventually(`the certificate of ${name}`, async () => {
    const status = (await find(cluster, resources.certificateSigningRequests, { name }))?.status;
    return status?.certificate !== undefined && new X509Certificate(Buffer.from(status.certificate, 'base64'));
  });

test('who is approved gets a certificate of the CA for his own key and subject, for as long as he asked', async (t) => {
  const { cluster, root } = await open(t, { maxLifetimeHours: 24 });
  const client = 'kubernetes.io/kube-apiserver-client';
  const request = await certificateRequest('CN=jane, O=dev, O=ops');
  const usages = ['client auth', 'digital signature'];
  await ask(cluster, 'jane', { request, signerName: client, usages, expirationSeconds: 1200 });
  await ask(cluster, 'long', { request, signerName: client, usages, expirationSeconds: 100 * 24 * 3600 });
  await ask(cluster, 'waits', { request, signerName: client, usages });
  await ask(cluster, 'foreign', { request, signerName: 'example.com/other', usages });
  for (const name of ['jane', 'long', 'foreign']) await approve(cluster, name);

  const jane = await issued(cluster, 'jane');
  t.true(jane.verify(root.publicKey));
  t.is(jane.issuer, root.subject);
  t.deepEqual(jane.subject.split('\n').sort(), ['CN=jane', 'O=dev', 'O=ops']);
  t.deepEqual(jane.keyUsage, ['1.3.6.1.5.5.7.3.2']);
  t.false(jane.ca);
  const leftMs = Date.parse(jane.validTo) - Date.now();
  t.true(leftMs > 1000_000 && leftMs <= 1200_000, `${leftMs}`);
  const asked = new x509.Pkcs10CertificateRequest(Buffer.from(request, 'base64').toString());
  t.deepEqual(jane.publicKey.export({ type: 'spki', format: 'der' }), Buffer.from(asked.publicKey.rawData));
  const longMs = Date.parse((await issued(cluster, 'long')).validTo) - Date.now();
  t.true(longMs > dayMs / 2 && longMs <= dayMs, `${longMs}`);
  await quiescence(cluster);
  for (const name of ['waits', 'foreign'])
    t.is((await find(cluster, resources.certificateSigningRequests, { name }))?.status?.certificate, undefined, name);
});

test("a kubelet's serving certificate has the names of its request; what breaks the rules fails and says why", async (t) => {
  const { cluster } = await open(t);
  const serving = { signerName: 'kubernetes.io/kubelet-serving', usages: ['digital signature', 'server auth'] };
  const names = [
    { type: 'dns', value: 'node-1' },
    { type: 'ip', value: '192.0.2.1' },
  ] as const;
  const subject = 'O=system:nodes, CN=system:node:node-1';
  await ask(cluster, 'serves', { request: await certificateRequest(subject, names), ...serving });
  await ask(cluster, 'nameless', { request: await certificateRequest(subject), ...serving });
  for (const name of ['serves', 'nameless']) await approve(cluster, name);

  const certificate = await issued(cluster, 'serves');
  t.is(certificate.checkHost('node-1', { subject: 'never' }), 'node-1');
  t.is(certificate.checkIP('192.0.2.1'), '192.0.2.1');
  t.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1']);
  const failure = (name: string) =>
    eventually(`the failure of ${name}`, async () => {
      const { conditions, certificate: none } =
        (await find(cluster, resources.certificateSigningRequests, { name }))?.status ?? {};
      t.is(none, undefined);
      return conditions?.find(({ type }) => type === 'Failed');
    });
  const nameless = await failure('nameless');
  t.is(nameless.reason, 'SignerValidationFailure');
  t.is(nameless.message, 'DNS or IP subjectAltName is required');
});

const none: RequestedCertificate = {
  commonName: 'system:node:a',
  organizations: ['system:nodes'],
  dnsNames: [],
  ipAddresses: [],
  emailAddresses: [],
  uris: [],
};
const client = 'kubernetes.io/kube-apiserver-client';
const kubelet = 'kubernetes.io/kube-apiserver-client-kubelet';
const serving = 'kubernetes.io/kubelet-serving';
const signing = 'digital signature';
const cases: readonly [string, Signer, Partial<RequestedCertificate>, string[], RegExp | undefined][] = [
  ['a client', client, { organizations: ['dev'], commonName: 'jane' }, ['client auth'], undefined],
  ['a client that serves', client, {}, ['client auth', 'server auth'], /invalid usage.*server auth/],
  ['a client of nothing', client, {}, [signing], /missing required usage/],
  ['a client that would be root', client, { organizations: ['system:masters'] }, ['client auth'], /system:masters/],
  ['a kubelet', kubelet, {}, [signing, 'client auth'], undefined],
  ['a kubelet with RSA', kubelet, {}, [signing, 'key encipherment', 'client auth'], undefined],
  ['a kubelet with a name', kubelet, { dnsNames: ['a'] }, [signing, 'client auth'], /DNS .* not allowed/],
  ['a kubelet with an address', kubelet, { ipAddresses: ['::1'] }, [signing, 'client auth'], /IP .* not allowed/],
  ['a kubelet with a mail box', kubelet, { emailAddresses: ['a@b'] }, [signing, 'client auth'], /Email/],
  ['a kubelet of more groups', kubelet, { organizations: ['system:nodes', 'x'] }, [signing, 'client auth'], /organiz/],
  ['a kubelet of another name', kubelet, { commonName: 'a' }, [signing, 'client auth'], /common name/],
  ['a kubelet that serves', kubelet, {}, [signing, 'server auth'], /usages did not match/],
  ['serving', serving, { dnsNames: ['a'] }, [signing, 'server auth'], undefined],
  ['serving with a URI', serving, { dnsNames: ['a'], uris: ['x:'] }, [signing, 'server auth'], /URI/],
  ['serving without a name', serving, {}, [signing, 'server auth'], /required/],
  ['serving as a client', serving, { dnsNames: ['a'] }, [signing, 'client auth'], /usages did not match/],
];
for (const [title, signer, wanted, usages, expected] of cases)
  test(`rules: ${title}`, (t) => {
    t.true(isSigner(signer));
    const said = refusal(signer, { ...none, ...wanted }, usages);
    if (expected) t.regex(said ?? '', expected);
    else t.is(said, undefined);
  });
