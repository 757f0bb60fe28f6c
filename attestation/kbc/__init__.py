"""The key broker client: attests once, keeps what that earned, and fetches secrets with it.

Rules of the room: the guest's private key is made here and leaves by no door; a broker that is not authenticated gets
no request; an answer is bounded before it is read and no redirect is followed; a challenge is answered once, so
whatever fails in a handshake starts the handshake over; what the broker refused is not asked again in the hope of
another answer.
"""
