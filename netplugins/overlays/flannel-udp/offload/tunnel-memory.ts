/** Layouts that sender and receiver share: struct virtio_net_hdr of the TUN device, TCP flags, the mark in TCP headers. */

/**
 * struct virtio_net_hdr, in the machine's byte order:
 *
 *     0 flags   1 gso_type   2 hdr_len u16   4 gso_size u16   6 csum_start u16   8 csum_offset u16
 */
export const vnetHeaderBytes = 10;
export const VNET_NEEDS_CSUM = 1;
export const VNET_GSO_TCPV4 = 1;
export const VNET_GSO_TCPV6 = 4;

/** Where a packet's virtio header begins in its memory, so that the packet behind it is aligned. */
export const vnetAt = 6;
export const packetAt = vnetAt + vnetHeaderBytes;

export const longestPacket = 65_535;

export const TCP = 6;
export const tcpChecksumAt = 16;
export const TCP_FIN = 1;
export const TCP_PSH = 8;
export const TCP_ACK = 16;

/**
 * In the fourth of TCP's reserved bits (RFC 9293, beside the data offset): the checksum has been left to the receiver. Only
 * between nodes that both announce it, and only inside datagrams, whose own checksum covers the packet.
 */
export const tcpUncheckedBit = 0x08;
