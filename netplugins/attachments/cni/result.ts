/** What ADD answers (cni.dev spec, section 5). Older versions say the family of each address; nothing else differs here. */
import { z } from 'zod';
import { PintleError, type Attached } from '../../../kernel/contract/index.ts';
import { canonicalIp } from '../../linux/ip-address.ts';

const schema = z.looseObject({
  cniVersion: z.string().optional(),
  interfaces: z
    .array(z.looseObject({ name: z.string(), mac: z.string().optional(), sandbox: z.string().optional() }))
    .nullish(),
  ips: z
    .array(
      z.looseObject({
        address: z.string().regex(/^[0-9a-fA-F.:]+\/\d+$/),
        gateway: z.string().optional(),
        interface: z.number().int().nullish(),
      }),
    )
    .nullish(),
});

export type CniResult = z.infer<typeof schema>;

export function readResult(value: unknown, type: string): CniResult {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new PintleError(
    'HOST_COMMAND_FAILED',
    `CNI plugin ${type} ADD: its result is not one of the specification (${issue?.path.join('.') ?? ''}: ` +
      `${issue?.message ?? ''}); expected interfaces and ips. Use a plugin of CNI 0.3 or newer`,
    { details: { argv: [type], exitCode: 0, stderr: '' } },
  );
}

/** Addresses of the pod's own interface; of all interfaces where the result does not tell them apart. */
export function addressesOf(result: CniResult, ifName: string): readonly { ip: string; gateway: string | undefined }[] {
  const { interfaces, ips } = result;
  return (ips ?? [])
    .filter((each) => {
      const owner = each.interface === null || each.interface === undefined ? undefined : interfaces?.[each.interface];
      return owner === undefined || (owner.name === ifName && (owner.sandbox ?? '') !== '');
    })
    .map(({ address, gateway }) => ({
      ip: canonicalIp(address.slice(0, address.lastIndexOf('/'))),
      gateway: gateway === undefined || gateway === '' ? undefined : canonicalIp(gateway),
    }));
}

export function attachedOf(sandboxId: string, ifName: string, result: CniResult): Attached {
  const addresses = addressesOf(result, ifName);
  const own = result.interfaces?.find(({ name, sandbox }) => name === ifName && (sandbox ?? '') !== '');
  return {
    sandboxId,
    interface: ifName,
    mac: own?.mac ?? '',
    ips: addresses.map(({ ip }) => ip),
    gateways: addresses.flatMap(({ gateway }) => (gateway === undefined ? [] : [gateway])),
  };
}

/** Names of the node's interfaces that the plugins made or used. */
export function nodeLinksOf({ interfaces }: CniResult): readonly string[] {
  return (interfaces ?? []).filter(({ sandbox }) => (sandbox ?? '') === '').map(({ name }) => name);
}
