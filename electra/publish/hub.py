"""Uploads of converted models to Hugging Face's Hub.

Enters: folders that `convert` wrote, the name of a repository. Leaves: a repository for each, with
the folder's files. Uses huggingface_hub, where it is installed: its token (HF_TOKEN, or that of
`hf auth login`) and its endpoint (HF_ENDPOINT).
"""

import os

from electra.storage import write_text

_REMEDIES = {
    401: "The token is not accepted. Make one that may write at https://huggingface.co/settings/tokens",
    403: "The token may not write there. Make one that may write, or name another repository",
    404: "There is no such user or repository, or the token may not see it. Check the name",
    409: "Somebody else changed the repository meanwhile, or the name is taken. Upload again",
}


def check_hub(name):
    """Raises a ValueError where nothing can be uploaded: before hours of work, not after.

    Args: name: of the repository, "user/model", or "model" of the token's user.
    """
    try:
        import huggingface_hub
        from huggingface_hub.utils import validate_repo_id
    except ImportError:
        raise ValueError(
            "--push_to_hub needs huggingface_hub. Install it: pip install -e '.[hub]', or leave "
            "--push_to_hub out and upload the folder in another way"
        ) from None
    validate_repo_id(name)
    if huggingface_hub.get_token() is None:
        raise ValueError(
            "--push_to_hub found no token. Set HF_TOKEN to one that may write, or run `hf auth "
            "login`, or leave --push_to_hub out"
        )


def push(folders, name, private=False):
    """Uploads folders, each to a repository of its own.

    Args:
        folders: list of those that `convert` wrote. Of a pair each half has the end of its folder:
            name-discriminator and name-generator.
        name: as of `check_hub`. A repository that is there gets a commit more.
        private: whether only its owners see a new repository.
    Returns: list of the repositories' URLs.
    Raises:
        ValueError: an upload failed; the folders stay as they are.
    """
    ends = [f"-{os.path.basename(folder)}" for folder in folders] if len(folders) > 1 else [""]
    return [_push(f, f"{name}{e}", private) for f, e in zip(folders, ends, strict=True)]


def _push(folder, name, private):
    import huggingface_hub

    api = huggingface_hub.HfApi()
    try:
        url = api.create_repo(name, private=private or None, exist_ok=True)
        _name_card(folder, url.repo_id)
        message = "Upload a model converted by electra"
        api.upload_folder(repo_id=url.repo_id, folder_path=folder, commit_message=message)
    except Exception as error:  # of many kinds, as the network has it
        status = getattr(getattr(error, "response", None), "status_code", None)
        remedy = _REMEDIES.get(status, f"Is {api.endpoint} reachable? Upload again")
        said = " ".join(str(error).split())
        raise ValueError(
            f"The upload to {name} failed: {said:.300}. {remedy}. The model stays in {folder}: "
            f"hf upload {name} {folder}"
        ) from error
    return str(url)


def _name_card(folder, repo_id):
    """Makes the card's title and example those of the repository."""
    path, local = os.path.join(folder, "README.md"), os.path.basename(os.path.abspath(folder))
    with open(path, encoding="utf-8") as file:
        text = file.read()
    text = text.replace(f"\n# {local}\n", f"\n# {repo_id.split('/')[-1]}\n", 1)
    text = text.replace(f"Beside the folder `{local}`:\n\n", "")
    write_text(path, text.replace(f"from_pretrained({local!r})", f"from_pretrained({repo_id!r})"))
