/** Attachment bridge: pods on a bridge of the node. */
import { VethAttachment, type VethOptions } from '../../linux/pods/veth-attachment.ts';
import { openRtnetlink } from '../../linux/rtnetlink.ts';
import { BridgeSide } from './bridge-side.ts';

export interface BridgeOptions extends VethOptions {
  readonly bridge: string;
}

export function openBridge(options: BridgeOptions): VethAttachment {
  const host = openRtnetlink(options);
  return new VethAttachment(options, host, new BridgeSide(options.bridge, host, options.netns));
}
