"""Dask: whether it is installed, checks of a user's cluster, and functions sent to it.

It is imported inside the functions, since it is an extra of the package, `l2l[sweep]`.
"""


def imported():
    """Imports the package `distributed`.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise ImportError("sweep and client= need Dask (%s): pip install l2l[sweep]" % error) from None
    return distributed


def check_client(client):
    """Checks the cluster that a user gives.

    Raises:
      TypeError: it is neither a `distributed.Client` that is not asynchronous, nor an address, nor None.
      ImportError: Dask is not installed.
    """
    if client is None or isinstance(client, str):
        return
    if not isinstance(client, imported().Client) or client.asynchronous:
        raise TypeError(
            "client must be a distributed.Client that is not asynchronous, the address of a scheduler, or None, got %r"
            % (client,)
        )


def pickled(what, value):
    """Returns bytes from which another process makes the same value, with functions and classes of a notebook.

    Raises:
      TypeError: `value` holds something that cannot be sent; the message calls it `what`.
    """
    import cloudpickle

    try:
        return cloudpickle.dumps(value)
    except Exception as error:
        raise TypeError("%s must be such that they can be sent to another process: %s" % (what, error)) from error
