"""Capture filters in tcpdump's language, compiled by libpcap and run by the kernel (classic BPF)."""

from __future__ import annotations

import ctypes
import socket
import struct
from functools import lru_cache

from netverify.errors import InputError, MissingCapability

SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h
LINKTYPE_ETHERNET = 1  # what libpcap calls DLT_EN10MB
_INSTRUCTION_SIZE = 8  # struct sock_filter


@lru_cache(maxsize=256)
def compile_bpf(expression: str) -> bytes:
    """Compile a filter in tcpdump's language (pcap-filter(7)) into classic BPF instructions for Ethernet.

    libpcap does it, through scapy; tcpdump need not be installed. Raises InputError quoting libpcap's
    complaint, or MissingCapability where there is no libpcap.
    """
    from scapy.arch.common import compile_filter
    from scapy.error import Scapy_Exception

    try:
        program = compile_filter(expression, linktype=LINKTYPE_ETHERNET)
    except Scapy_Exception as error:
        raise InputError(
            f"filter {expression!r}: {error}. Expected tcpdump's language, pcap-filter(7)"
        ) from error
    except ImportError as error:
        raise MissingCapability(
            "libpcap",
            f"filter {expression!r} cannot be compiled ({error})",
            "Install it (Debian, Ubuntu: apt-get install libpcap0.8), or capture without a filter.",
        ) from error
    return ctypes.string_at(program.bf_insns, program.bf_len * _INSTRUCTION_SIZE)


def attach(sock: socket.socket, instructions: bytes) -> None:
    """Have the kernel run a classic BPF program on every packet before it reaches the socket (socket(7))."""
    memory = ctypes.create_string_buffer(instructions, len(instructions))
    count = len(instructions) // _INSTRUCTION_SIZE
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", count, ctypes.addressof(memory)))
