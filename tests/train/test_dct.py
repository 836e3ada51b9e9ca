import torch

from train.dct import DctAutoencoder, cosine_basis


def test_basis_is_orthonormal():
    basis = cosine_basis()
    torch.testing.assert_close(basis @ basis.T, torch.eye(8, dtype=torch.float64))


def test_smooth_pictures_survive_and_latents_are_about_unit_wide():
    y, x = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 96), indexing="ij")
    image = torch.stack([torch.sin(6 * x), torch.cos(5 * y), x * 2 - 1])[None]
    vae = DctAutoencoder()
    moments = vae.moments(image)
    assert moments.shape == (1, 32, 12, 12)
    latent = vae.latent(moments, torch.randn(1, 16, 12, 12))
    torch.testing.assert_close(vae.decode(latent), image, atol=0.03, rtol=0)
    assert 0.1 < latent.std() < 2


def test_encoding_what_was_decoded_gives_the_same_latents():
    vae = DctAutoencoder()
    latent = torch.randn(2, 16, 4, 6)
    again = vae.moments(vae.decode(latent)).chunk(2, dim=1)[0]
    torch.testing.assert_close(again, latent, atol=1e-4, rtol=1e-4)
