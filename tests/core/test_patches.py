import pytest
import torch

from pf_core.errors import InputError
from pf_core.patches import PatchGrid

GRIDS = [PatchGrid(4, 4, 2), PatchGrid(6, 9, 3), PatchGrid(8, 4, 1), PatchGrid(5, 5, 5), PatchGrid(16, 8, 4)]
grids = pytest.mark.parametrize("grid", GRIDS, ids=str)


@grids
def test_join_undoes_split_and_split_undoes_join(grid, rng):
    x = torch.randn(2, 3, grid.height, grid.width, generator=rng)
    tokens = grid.split(x)
    assert tokens.shape == (2, grid.n, grid.patch_size**2 * 3)
    assert torch.equal(grid.join(tokens), x)
    assert torch.equal(grid.split(grid.join(tokens)), tokens)


@grids
def test_to_patches_is_the_mean_and_to_pixels_spreads(grid, rng):
    x = torch.randn(2, 3, grid.height, grid.width, generator=rng)
    p, k = grid.to_patches(x), grid.patch_size
    spread = grid.to_pixels(p)
    assert spread.shape == (2, 1, grid.height, grid.width)
    for row in range(grid.rows):
        for col in range(grid.cols):
            i = row * grid.cols + col  # counted row by row
            here = (slice(None), slice(None), slice(row * k, row * k + k), slice(col * k, col * k + k))
            torch.testing.assert_close(p[:, i], x[here].mean((1, 2, 3)))
            assert (spread[here] == p[:, i, None, None, None]).all()


@grids
def test_a_value_per_patch_survives_the_way_to_pixels_and_back(grid, rng):
    p = torch.randn(2, grid.n, generator=rng)
    torch.testing.assert_close(grid.to_patches(grid.to_pixels(p)), p)


def test_a_token_is_laid_out_row_column_channel():
    grid = PatchGrid(2, 4, 2)
    x = torch.arange(16.0).reshape(1, 2, 2, 4)  # value = 8 channel + 4 row + column
    expected = [[8 * c + 4 * i + j for i in range(2) for j in cols for c in range(2)] for cols in ([0, 1], [2, 3])]
    assert grid.split(x)[0].tolist() == expected


def test_rows_columns_and_count():
    grid = PatchGrid(6, 9, 3)
    assert (grid.rows, grid.cols, grid.n) == (2, 3, 6)


@pytest.mark.parametrize("sides", [(7, 8, 2), (8, 7, 2), (2, 2, 4), (0, 4, 2), (4, -4, 2), (4, 4, 0)])
def test_a_bad_grid_is_refused_in_one_sentence(sides):
    with pytest.raises(InputError) as error:
        PatchGrid(*sides)
    text = str(error.value)
    assert text.endswith(".") and text.count(". ") == 0 and "\n" not in text
