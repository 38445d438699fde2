/** Answers packets that cannot go on. Owns a raw socket a family. */
import { AF_INET, AF_INET6, parseIp } from '../../linux/ip-address.ts';
import { openRawSender, type RawSender } from '../../linux/raw-ip.ts';
import { icmpError, type IcmpReason } from './inner-packet.ts';

export class IcmpSender {
  readonly #ways = new Map<number, { readonly source: Buffer; readonly sender: RawSender }>();

  /** From these addresses of the node, one a family. */
  constructor(sources: readonly string[]) {
    for (const text of sources) {
      const source = parseIp(text);
      const isV4 = source.length === 4;
      this.#ways.set(isV4 ? 4 : 6, { source, sender: openRawSender(isV4 ? AF_INET : AF_INET6) });
    }
  }

  answer(packet: Buffer, reason: IcmpReason): void {
    const way = this.#ways.get(packet[0]! >> 4);
    const error = way === undefined ? undefined : icmpError(packet, way.source, reason);
    if (error !== undefined) way?.sender.send(error);
  }
}
